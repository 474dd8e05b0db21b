#ifndef CLONESAFE_BASE_PROMETHEUS_H_
#define CLONESAFE_BASE_PROMETHEUS_H_

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

namespace clonesafe {

// Writes metrics in Prometheus' text format, version 0.0.4: a family, then its samples.
class PrometheusText {
 public:
  // What every family's name begins with.
  explicit PrometheusText(std::string prefix) : prefix_(std::move(prefix)) {}

  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = prefix_ + std::string(name);
    text_ += "# HELP " + name_ + " " + std::string(help) + "\n";
    text_ += "# TYPE " + name_ + " " + std::string(type) + "\n";
  }
  // `suffix` is for the parts of a histogram: "_bucket", "_sum", "_count".
  void sample(std::uint64_t value, std::string_view labels = {}, std::string_view suffix = {}) {
    line(labels, std::to_string(value), suffix);
  }
  void seconds(std::uint64_t microseconds, std::string_view labels = {},
               std::string_view suffix = {}) {
    char text[32];
    std::snprintf(text, sizeof text, "%llu.%06llu",
                  static_cast<unsigned long long>(microseconds / 1'000'000),
                  static_cast<unsigned long long>(microseconds % 1'000'000));
    line(labels, text, suffix);
  }
  std::string take() { return std::move(text_); }

  // One label; several are joined by commas.
  static std::string label(std::string_view name, std::string_view value) {
    std::string text = std::string(name) + "=\"";
    for (const char c : value) {
      if (c == '\\' || c == '"') text += '\\';
      text += c == '\n' ? ' ' : c;
    }
    return text + "\"";
  }

 private:
  void line(std::string_view labels, const std::string& value, std::string_view suffix) {
    text_ += name_ + std::string(suffix);
    if (!labels.empty()) text_ += "{" + std::string(labels) + "}";
    text_ += " " + value + "\n";
  }

  std::string prefix_;
  std::string name_;
  std::string text_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_BASE_PROMETHEUS_H_
