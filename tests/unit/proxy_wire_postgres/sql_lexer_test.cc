#include "proxy/wire/postgres/sql_lexer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proxy/wire/postgres/sql_name.h"

namespace clonesafe::wire::postgres {
namespace {

using testing::ElementsAre;
using TokenKind = SqlToken::Kind;
using Encoding = SqlOptions::Encoding;

std::vector<std::string> tokens(std::string_view text, bool conforming = true) {
  std::vector<std::string> result;
  SqlLexer lexer(text, {.standard_conforming_strings = conforming});
  while (true) {
    const auto token = lexer.next();
    if (token.kind == TokenKind::kEnd) return result;
    if (token.kind == TokenKind::kBroken) {
      result.emplace_back("broken");
      return result;
    }
    result.emplace_back(token.text);
  }
}

TEST(SqlLexer, LeavesOutSpaceAndComments) {
  EXPECT_THAT(tokens(" a\t\r\n\f\vb -- c\nd--e\rf/* g /* h */ ; */i /**/ -- end"),
              ElementsAre("a", "b", "d", "f", "i"));
  EXPECT_THAT(tokens("/*/ a */ b"), ElementsAre("b"));
  EXPECT_THAT(tokens("/***/ /**//***/b /* // * / */"), ElementsAre("b"));
  EXPECT_THAT(tokens("a /* /* */ b"), ElementsAre("a", "broken"));
  EXPECT_THAT(tokens(""), ElementsAre());
}

TEST(SqlLexer, EndsAnOperatorWhereACommentBegins) {
  EXPECT_THAT(tokens("1+--2\n3"), ElementsAre("1", "+", "3"));
  EXPECT_THAT(tokens("1*/*2*/3"), ElementsAre("1", "*", "3"));
  EXPECT_THAT(tokens("a@>b ->> c"), ElementsAre("a", "@>", "b", "->>", "c"));
}

TEST(SqlLexer, LeavesASignToTheNumber) {
  EXPECT_THAT(tokens("a=-1"), ElementsAre("a", "=", "-", "1"));
  EXPECT_THAT(tokens("a@-1"), ElementsAre("a", "@-", "1"));
  EXPECT_THAT(tokens("a<+-1"), ElementsAre("a", "<", "+", "-", "1"));
}

TEST(SqlLexer, TakesStringsAsStandardConformingStringsSays) {
  EXPECT_THAT(tokens(R"('a\' b)"), ElementsAre(R"('a\')", "b"));
  EXPECT_THAT(tokens(R"('a\' b' c)", false), ElementsAre(R"('a\' b')", "c"));
  EXPECT_THAT(tokens(R"('a''b' '')"), ElementsAre("'a''b'", "''"));
  EXPECT_THAT(tokens(R"('\\' c)", false), ElementsAre(R"('\\')", "c"));
  EXPECT_THAT(tokens("'a"), ElementsAre("broken"));
  EXPECT_THAT(tokens("'a\\", false), ElementsAre("broken"));
  EXPECT_THAT(tokens("b 'a\\'", false), ElementsAre("b", "broken"));
}

TEST(SqlLexer, TakesPrefixedStrings) {
  for (const bool conforming : {true, false}) {
    EXPECT_THAT(tokens(R"(E'a\'; b' c)", conforming), ElementsAre(R"(E'a\'; b')", "c"));
    EXPECT_THAT(tokens(R"(e'\\' c)", conforming), ElementsAre(R"(e'\\')", "c"));
    EXPECT_THAT(tokens(R"(X'1\' c)", conforming), ElementsAre(R"(X'1\')", "c"));
    EXPECT_THAT(tokens(R"(b'01')", conforming), ElementsAre("b'01'"));
  }
  EXPECT_THAT(tokens(R"(U&'d\0061t' c)"), ElementsAre(R"(U&'d\0061t')", "c"));
  EXPECT_THAT(tokens(R"(u&'\' c)"), ElementsAre(R"(u&'\')", "c"));
  EXPECT_THAT(tokens(R"(U&'a' c)", false), ElementsAre("broken"));
  // A longer word, or a space, is no prefix.
  EXPECT_THAT(tokens(R"(see'a\' b)"), ElementsAre("see", R"('a\')", "b"));
  EXPECT_THAT(tokens(R"(E 'a\' b)"), ElementsAre("E", R"('a\')", "b"));
  EXPECT_THAT(tokens(R"(N'a' u & 'b')"), ElementsAre("N", "'a'", "u", "&", "'b'"));
  // What servers before 15 took for a number and an escape string.
  EXPECT_THAT(tokens(R"(1E'a\'' b)"), ElementsAre("1", R"(E'a\'')", "b"));
}

TEST(SqlLexer, GoesOnWithAStringOnTheNextLine) {
  EXPECT_THAT(tokens("'a'\n'b' c"), ElementsAre("'a'\n'b'", "c"));
  EXPECT_THAT(tokens("'a' 'b'"), ElementsAre("'a'", "'b'"));
  // In the form that it began with, over a comment too.
  EXPECT_THAT(tokens("E'a' -- '\n \t-- x\r'b\\' c' d"),
              ElementsAre("E'a' -- '\n \t-- x\r'b\\' c'", "d"));
  EXPECT_THAT(tokens("'a' /* */\n'b\\'"), ElementsAre("'a'", "'b\\'"));
  EXPECT_THAT(tokens("'a' -- '"), ElementsAre("'a'"));
  EXPECT_THAT(tokens("'a'\n'b"), ElementsAre("broken"));
}

TEST(SqlLexer, TakesDollarQuotes) {
  EXPECT_THAT(tokens("$$a';$ $x$b$$ c"), ElementsAre("$$a';$ $x$b$$", "c"));
  EXPECT_THAT(tokens("$a$ $b$ $$ $A$ $a$c"), ElementsAre("$a$ $b$ $$ $A$ $a$", "c"));
  EXPECT_THAT(tokens("$a$ $b$a$c"), ElementsAre("$a$ $b$a$", "c"));
  EXPECT_THAT(tokens("$\xc3\xa9$;$\xc3\xa9$ c"), ElementsAre("$\xc3\xa9$;$\xc3\xa9$", "c"));
  EXPECT_THAT(tokens("$a$ $b$"), ElementsAre("broken"));
  // Not in a name, not with a digit in front, not with a space.
  EXPECT_THAT(tokens("x$a$;$a$"), ElementsAre("x$a$", ";", "broken"));
  EXPECT_THAT(tokens("a$$ b"), ElementsAre("a$$", "b"));
  EXPECT_THAT(tokens("$1$1 $12"), ElementsAre("$1", "$1", "$12"));
  EXPECT_THAT(tokens("$1$$;$$"), ElementsAre("$1", "$$;$$"));
  EXPECT_THAT(tokens("$ a$"), ElementsAre("$", "a$"));
}

TEST(SqlLexer, TakesQuotedNames) {
  EXPECT_THAT(tokens(R"("a;""b" U&"c\0064" "\"x)"),
              ElementsAre(R"("a;""b")", R"(U&"c\0064")", R"("\")", "x"));
  EXPECT_THAT(tokens(R"("a)"), ElementsAre("broken"));
  EXPECT_THAT(tokens("\"a\"\n\"b\""), ElementsAre("\"a\"", "\"b\""));
}

TEST(SqlLexer, TakesNumbers) {
  EXPECT_THAT(
      tokens("1 1.5 .5 1. 1e5 1.5E-3 1e+x 1..2"),
      ElementsAre("1", "1.5", ".5", "1.", "1e5", "1.5E-3", "1", "e", "+", "x", "1", ".", ".2"));
  EXPECT_THAT(tokens("a.b::c[1]:=2"),
              ElementsAre("a", ".", "b", ":", ":", "c", "[", "1", "]", ":", "=", "2"));
}

TEST(SqlLexer, StaysAtItsEnd) {
  SqlLexer lexer("a 'b", {});
  EXPECT_EQ(lexer.next().text, "a");
  EXPECT_EQ(lexer.next().kind, TokenKind::kBroken);
  EXPECT_EQ(lexer.next().kind, TokenKind::kBroken);
  SqlLexer empty("", {});
  EXPECT_EQ(empty.next().kind, TokenKind::kEnd);
  EXPECT_EQ(empty.next().kind, TokenKind::kEnd);
}

std::optional<std::string> name(std::string_view text, Encoding encoding = Encoding::kUtf8) {
  SqlLexer lexer(text, {});
  return sql_name(lexer.next(), encoding);
}

TEST(SqlName, IsFoldedAndCutAsTheServerDoes) {
  EXPECT_EQ(name("FooBar"), "foobar");
  EXPECT_EQ(name(R"("Foo ""Bar""")"), R"(Foo "Bar")");
  EXPECT_EQ(name("\xc3\x84"
                 "B"),
            "\xc3\x84"
            "b");
  EXPECT_EQ(name("\xc3\x84", Encoding::kAsciiSafe), std::nullopt);
  EXPECT_EQ(name(R"("")"), std::nullopt);
  EXPECT_EQ(name(R"(U&"a")"), std::nullopt);
  EXPECT_EQ(name("'a'"), std::nullopt);
  EXPECT_EQ(name("1"), std::nullopt);
  const std::string a62(62, 'a');
  EXPECT_EQ(name(a62 + "bc"), a62 + "b");
  EXPECT_EQ(name('"' + a62 + "\xc3\x84\""), a62);
  EXPECT_EQ(name(a62.substr(2) + "\xf0\x9f\x98\x80"), a62.substr(2));
  EXPECT_EQ(name('a' + std::string(80, '\x9c')), std::nullopt);
}

TEST(SqlName, IsQuotedSoThatItIsTheSame) {
  EXPECT_EQ(quote_sql_name(R"(a"b)"), R"("a""b")");
  for (const auto text : {"it's", R"(a\'b)", R"(\)", "", "plain"}) {
    const auto quoted = quote_sql_string(text);
    for (const bool conforming : {true, false}) EXPECT_THAT(tokens(quoted, conforming).size(), 1U);
  }
  EXPECT_EQ(quote_sql_string("it's"), "'it''s'");
  EXPECT_EQ(quote_sql_string(R"(a\'b)"), R"( E'a\\''b')");
}

TEST(SqlEncoding, IsUnsafeUnlessKnown) {
  EXPECT_EQ(sql_encoding("UTF8", "UTF8"), Encoding::kUtf8);
  EXPECT_EQ(sql_encoding("utf-8", "UNICODE"), Encoding::kUtf8);
  EXPECT_EQ(sql_encoding("UTF8", "LATIN1"), Encoding::kAsciiSafe);
  for (const auto safe : {"LATIN1", "latin10", "WIN1252", "windows-1251", "EUC_JP", "SQL_ASCII",
                          "KOI8-R", "ISO-8859-5", "WIN"})
    EXPECT_EQ(sql_encoding(safe, "UTF8"), Encoding::kAsciiSafe) << safe;
  for (const auto unsafe : {"SJIS", "SHIFT_JIS_2004", "BIG5", "GBK", "UHC", "GB18030", "JOHAB",
                            "WIN932", "WIN936", "WIN949", "WIN950", "windows932", "", "new"})
    EXPECT_EQ(sql_encoding(unsafe, "UTF8"), Encoding::kUnsafe) << unsafe;
}

}  // namespace
}  // namespace clonesafe::wire::postgres
