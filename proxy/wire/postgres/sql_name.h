#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_SQL_NAME_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_SQL_NAME_H_

#include <optional>
#include <string>
#include <string_view>

#include "proxy/wire/postgres/sql_lexer.h"

namespace clonesafe::wire::postgres {

// The server cuts names at this many bytes (NAMEDATALEN - 1), between characters.
inline constexpr std::size_t kMaxName = 63;

// The name that the server takes a kWord or kQuoted for: without quotes, a word in small letters,
// not too long. Nothing for other tokens, and where that depends on what isn't known here (U&"...",
// letters outside ASCII in an encoding other than UTF-8).
std::optional<std::string> sql_name(const SqlToken& token, SqlOptions::Encoding encoding);

bool is_ascii(std::string_view text);
// `prefix` is given in small letters.
bool starts_with_lower(std::string_view text, std::string_view prefix);
std::string ascii_lower(std::string_view text);

// A kWord that is this keyword, which is given in small letters.
bool is_word(const SqlToken& token, std::string_view keyword);

// Of identifiers and strings that are typed by people: "it's" becomes 'it''s', a"b "a""b".
// A string has no backslash that any setting of standard_conforming_strings could give a meaning.
std::string quote_sql_name(std::string_view name);
std::string quote_sql_string(std::string_view text);

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_SQL_NAME_H_
