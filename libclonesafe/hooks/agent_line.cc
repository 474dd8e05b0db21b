#include "libclonesafe/hooks/agent_line.h"

#include <cstring>

#include "clonesafe/hooks.h"

namespace clonesafe::hooks {
namespace {

constexpr int kDeepest = 8;

// A piece of the text. Of a string: what is between its quotes, escapes as they stand.
struct Piece {
  const char* begin = nullptr;
  std::size_t size = 0;
  bool is_string = false;

  bool is(const char* word) const {
    return size == std::strlen(word) && std::memcmp(begin, word, size) == 0;
  }
};

// Of a number, true, false or null.
bool is_of_a_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == 'E' || c == '+' || c == '-' ||
         c == '.';
}

// Walks over JSON text. It takes some that isn't JSON, such as `[1 2`; what it gives lies in the
// text all the same.
class Scanner {
 public:
  Scanner(const char* text, std::size_t size) : next_(text), end_(text + size) {}

  bool take(char wanted) {
    skip_space();
    if (next_ == end_ || *next_ != wanted) return false;
    ++next_;
    return true;
  }
  bool at_end() {
    skip_space();
    return next_ == end_;
  }
  bool string(Piece& piece) {
    if (!take('"')) return false;
    piece.is_string = true;
    piece.begin = next_;
    for (; next_ != end_ && *next_ != '"'; ++next_) {
      if (*next_ != '\\') continue;
      ++next_;
      if (next_ == end_) return false;
    }
    piece.size = static_cast<std::size_t>(next_ - piece.begin);
    return take('"');
  }
  bool value(Piece& piece) {
    skip_space();
    if (next_ == end_) return false;
    if (*next_ == '"') return string(piece);
    piece.begin = next_;
    if (*next_ != '{' && *next_ != '[') {
      while (next_ != end_ && is_of_a_word(*next_)) ++next_;
      piece.size = static_cast<std::size_t>(next_ - piece.begin);
      return piece.size != 0;
    }
    int depth = 0;
    while (next_ != end_) {
      Piece inner;
      if (*next_ == '"') {
        if (!string(inner)) return false;
        continue;
      }
      if (*next_ == '{' || *next_ == '[') {
        if (++depth > kDeepest) return false;
      } else if (*next_ == '}' || *next_ == ']') {
        --depth;
      }
      ++next_;
      if (depth == 0) break;
    }
    piece.size = static_cast<std::size_t>(next_ - piece.begin);
    return depth == 0;
  }

 private:
  void skip_space() {
    while (next_ != end_ && (*next_ == ' ' || *next_ == '\t' || *next_ == '\r')) ++next_;
  }

  const char* next_;
  const char* end_;
};

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::uint64_t number_of(const Piece& piece) {
  if (piece.size > 16) return 0;
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < piece.size; ++i) {
    const int digit = digit_of(piece.begin[i]);
    if (digit < 0) return 0;
    number = (number << 4) | static_cast<std::uint64_t>(digit);
  }
  return number;
}

void read_id16(const Piece& piece, std::uint8_t (&id)[16]) {
  if (piece.size != 2 * sizeof(id)) return;
  std::uint8_t bytes[sizeof(id)] = {};
  for (std::size_t i = 0; i < piece.size; ++i) {
    const int digit = digit_of(piece.begin[i]);
    if (digit < 0) return;
    bytes[i / 2] = static_cast<std::uint8_t>(bytes[i / 2] << 4 | digit);
  }
  std::memcpy(id, bytes, sizeof(id));
}

// The id goes back as it came, so it must not need quoting.
bool read_event_id(const Piece& piece, char (&id)[24]) {
  if (piece.size == 0 || piece.size >= sizeof(id)) return false;
  for (std::size_t i = 0; i < piece.size; ++i) {
    const char c = piece.begin[i];
    if (c <= ' ' || c > '~' || c == '"' || c == '\\') return false;
  }
  std::memcpy(id, piece.begin, piece.size);
  return true;
}

std::uint32_t kind_of(const Piece& cause) {
  if (cause.is("clone")) return CS_KIND_CLONE;
  if (cause.is("move")) return CS_KIND_MOVE;
  if (cause.is("resume")) return CS_KIND_RESUME;
  return 0;
}

}  // namespace

bool read_agent_line(const char* text, std::size_t size, AgentLine& line) {
  using What = AgentLine::What;
  line = {};
  Scanner scanner(text, size);
  if (!scanner.take('{')) return false;
  bool has_id = false;
  bool first = true;
  while (!scanner.take('}')) {
    if (!first && !scanner.take(',')) return false;
    first = false;
    Piece name;
    Piece value;
    if (!scanner.string(name) || !scanner.take(':') || !scanner.value(value)) return false;
    if (name.is("watching")) line.what = What::kWatching;
    if (!value.is_string) continue;
    if (name.is("event")) {
      line.what = value.is("before_snapshot") ? What::kBeforeSnapshot
                  : value.is("restored")      ? What::kRestored
                  : value.is("undone")        ? What::kUndone
                                              : What::kOther;
    } else if (name.is("error") && line.what == What::kOther) {
      line.what = What::kRefused;
    } else if (name.is("tier")) {
      line.what = What::kStatus;  // nothing else has one
    } else if (name.is("id")) {
      has_id = read_event_id(value, line.id);
    } else if (name.is("cause") || name.is("kind")) {
      line.kind = kind_of(value);
    } else if (name.is("generation")) {
      line.generation = number_of(value);
    } else if (name.is("restore_id")) {
      read_id16(value, line.restore_id);
    }
  }
  if (!scanner.at_end()) return false;
  const bool event = line.what == What::kBeforeSnapshot || line.what == What::kRestored ||
                     line.what == What::kUndone;
  return has_id || !event;
}

}  // namespace clonesafe::hooks
