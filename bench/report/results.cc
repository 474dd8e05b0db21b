#include "bench/report/results.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <fstream>

namespace clonesafe::bench {

namespace json = boost::json;

void Results::add(const Figure& figure) {
  json::object result = {{"name", figure.name}, {"value", figure.value}, {"unit", figure.unit},
                         {"peer", nullptr},     {"peer_value", nullptr}, {"ratio", nullptr},
                         {"goal", nullptr},     {"met", nullptr}};
  std::optional<double> ratio;
  if (figure.peer_value) {
    ratio = figure.more_is_better ? figure.value / *figure.peer_value
                                  : *figure.peer_value / figure.value;
    result["peer"] = figure.peer;
    result["peer_value"] = *figure.peer_value;
    result["ratio"] = *ratio;
  }
  if (figure.goal) {
    result["goal"] = *figure.goal;
    result["met"] = ratio ? *ratio >= *figure.goal : figure.value <= *figure.goal;
  }
  results_.push_back(std::move(result));
}

bool Results::write(const std::string& path) const {
  std::ofstream file(path);
  file << json::serialize(json::object{{"results", results_}}) << "\n";
  file.close();
  return !file.fail();
}

double quantile(std::vector<double> values, double q) {
  std::ranges::sort(values);
  const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(values.size())));
  return values[std::clamp<std::size_t>(rank, 1, values.size()) - 1];
}

}  // namespace clonesafe::bench
