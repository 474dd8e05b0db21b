#include "proxy/wire/postgres/sql_script.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace clonesafe::wire::postgres {
namespace {

using testing::ElementsAre;
using enum SqlKind;

std::vector<SqlStatement> statements(std::string_view text, SqlOptions options = {}) {
  std::vector<SqlStatement> result;
  SqlScript script(text, options);
  while (auto statement = script.next()) result.push_back(std::move(*statement));
  return result;
}

std::vector<std::string> texts(std::string_view text, SqlOptions options = {}) {
  std::vector<std::string> result;
  for (const auto& statement : statements(text, options)) result.emplace_back(statement.text);
  return result;
}

SqlStatement only(std::string_view text) {
  auto all = statements(text);
  EXPECT_EQ(all.size(), 1U) << text;
  return all.size() == 1 ? std::move(all[0]) : SqlStatement{};
}

struct Expected {
  const char* text;
  SqlKind kind;
  const char* name = "";
};

TEST(SqlScript, IsSplitWhereTheServerSplitsIt) {
  EXPECT_THAT(texts(" ; a ;; /* ; */ b';' ; -- ;\n"), ElementsAre("a", "b';'"));
  EXPECT_THAT(texts(""), ElementsAre());
  EXPECT_THAT(texts("-- nothing"), ElementsAre());
  EXPECT_THAT(
      texts("CREATE RULE r AS ON UPDATE TO t DO ALSO (INSERT INTO u SELECT 1; SELECT 2); b"),
      ElementsAre("CREATE RULE r AS ON UPDATE TO t DO ALSO (INSERT INTO u SELECT 1; SELECT 2)",
                  "b"));
  EXPECT_THAT(texts("SELECT $$;$$; SELECT E'\\';'; SELECT \";\""),
              ElementsAre("SELECT $$;$$", "SELECT E'\\';'", "SELECT \";\""));
  EXPECT_THAT(texts(R"(SELECT '\'; COMMIT; --')"), ElementsAre(R"(SELECT '\')", "COMMIT"));
  EXPECT_THAT(texts(R"(SELECT '\'; COMMIT; --')", {.standard_conforming_strings = false}),
              ElementsAre(R"(SELECT '\'; COMMIT; --')"));
}

TEST(SqlScript, IsUnknownFromWhereItCanNotBeSplit) {
  // The server runs none of it, and says so by an error.
  EXPECT_THAT(texts("SELECT 1; COMMIT 'a; b"), ElementsAre("SELECT 1", "COMMIT 'a; b"));
  EXPECT_EQ(statements("SELECT 1; COMMIT 'a; b")[1].kind, kUnknown);
  EXPECT_THAT(texts("SELECT 1; 'a; b"), ElementsAre("SELECT 1", "'a; b"));

  const auto function =
      "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; SELECT 2; END; "
      "COMMIT";
  EXPECT_THAT(texts(function), ElementsAre(function));
  EXPECT_EQ(only(function).kind, kUnknown);
  EXPECT_EQ(only("CREATE PROCEDURE p() BEGIN ATOMIC; END").kind, kUnknown);
  EXPECT_EQ(statements("SELECT begin atomic; COMMIT").size(), 2U);

  // A backslash may be the second byte of a character.
  const SqlOptions sjis{.encoding = SqlOptions::Encoding::kUnsafe};
  EXPECT_THAT(texts("SELECT '\x83\x5c'; COMMIT", sjis), ElementsAre("SELECT '\x83\x5c'; COMMIT"));
  EXPECT_EQ(statements("SELECT '\x83\x5c'; COMMIT", sjis)[0].kind, kUnknown);
  EXPECT_EQ(statements("SELECT 1; COMMIT", sjis)[1].kind, kCommit);
}

TEST(SqlStatement, IsClassifiedByItsWords) {
  const std::vector<Expected> cases = {
      {"BEGIN", kBegin},
      {"begin work", kBegin},
      {"BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, NOT DEFERRABLE", kBegin},
      {"START TRANSACTION READ ONLY", kBegin},
      {"START", kUnknown},
      {"BEGIN AT ONCE", kUnknown},
      {"BEGIN READ ONLY,", kUnknown},
      {"COMMIT", kCommit},
      {"END TRANSACTION", kCommit},
      {"COMMIT AND NO CHAIN", kCommit},
      {"COMMIT AND", kUnknown},
      {"COMMIT PREPARED 'x'", kFinishPrepared},
      {"ROLLBACK PREPARED 'x'", kFinishPrepared},
      {"PREPARE TRANSACTION 'x'", kPrepareTransaction},
      {"ROLLBACK", kRollback},
      {"ABORT WORK AND CHAIN", kRollback},
      {"ROLLBACK TO a", kRollbackTo, "a"},
      {"ROLLBACK WORK TO SAVEPOINT \"A b\"", kRollbackTo, "A b"},
      {"ROLLBACK TO savepoint", kRollbackTo, "savepoint"},
      {"SAVEPOINT a", kSavepoint, "a"},
      {"RELEASE a", kRelease, "a"},
      {"RELEASE SAVEPOINT a", kRelease, "a"},
      {"SET work_mem = '1MB'", kSet, "work_mem"},
      {"SET SESSION work_mem TO 5", kSet, "work_mem"},
      {"SET a.\"B\".c TO 'x', 'y'", kSet, "a.b.c"},
      {"SET \"TimeZone\"='UTC'", kSet, "timezone"},
      {"SET x=-1", kSet, "x"},
      {"SET TIME ZONE 'UTC'", kSet, "timezone"},
      {"SET TIME ZONE LOCAL", kReset, "timezone"},
      {"SET TIME ZONE", kUnknown},
      {"SET NAMES 'latin1'", kSet, "client_encoding"},
      {"SET NAMES", kReset, "client_encoding"},
      {"SET SCHEMA 'a'", kSet, "search_path"},
      {"SET XML OPTION DOCUMENT", kSet, "xmloption"},
      {"SET session TO 1", kSet, "session"},
      {"SET local.x = 1", kSet, "local.x"},
      {"SET x TO DEFAULT", kReset, "x"},
      {"SET x FROM CURRENT", kUnknown},
      {"SET U&\"x\" = 1", kUnknown},
      {"SET", kUnknown},
      {"SET ROLE bob", kSetRole, "role"},
      {"SET role TO 'bob'", kSetRole, "role"},
      {"SET SESSION ROLE NONE", kSetRole, "role"},
      {"SET SESSION AUTHORIZATION 'bob'", kSetSessionAuthorization, "session_authorization"},
      {"SET SESSION SESSION AUTHORIZATION bob", kSetSessionAuthorization, "session_authorization"},
      {"SET session_authorization = bob", kSetSessionAuthorization, "session_authorization"},
      {"SET TRANSACTION READ ONLY", kSetTransaction},
      {"SET TRANSACTION SNAPSHOT 'a'", kSetTransaction},
      {"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", kSetCharacteristics},
      {"SET CONSTRAINTS ALL DEFERRED", kOther},
      {"RESET work_mem", kReset, "work_mem"},
      {"RESET a.b", kReset, "a.b"},
      {"RESET ALL", kResetAll},
      {"RESET SESSION AUTHORIZATION", kReset, "session_authorization"},
      {"RESET TIME ZONE", kReset, "timezone"},
      {"RESET ROLE", kReset, "role"},
      {"RESET", kUnknown},
      {"PREPARE p AS SELECT 1", kPrepare, "p"},
      {"PREPARE P (int, text) AS SELECT $1", kPrepare, "p"},
      {"PREPARE transaction AS SELECT 1", kPrepare, "transaction"},
      {"PREPARE p", kUnknown},
      {"EXECUTE p", kExecute, "p"},
      {"EXECUTE p(1, 2)", kExecute, "p"},
      {"DEALLOCATE p", kDeallocate, "p"},
      {"DEALLOCATE PREPARE p", kDeallocate, "p"},
      {"DEALLOCATE prepare", kDeallocate, "prepare"},
      {"DEALLOCATE ALL", kDeallocateAll},
      {"DEALLOCATE PREPARE ALL", kDeallocateAll},
      {"DEALLOCATE \"all\"", kDeallocate, "all"},
      {"LISTEN News", kListen, "news"},
      {"LISTEN \"News\"", kListen, "News"},
      {"LISTEN", kUnknown},
      {"LISTEN a b", kUnknown},
      {"UNLISTEN news", kUnlisten, "news"},
      {"UNLISTEN *", kUnlistenAll},
      {"DISCARD ALL", kDiscard, "all"},
      {"DISCARD PLANS", kDiscard, "plans"},
      {"DISCARD SEQUENCES", kDiscard, "sequences"},
      {"DISCARD TEMPORARY", kDiscard, "temp"},
      {"DISCARD", kUnknown},
      {"DECLARE c CURSOR FOR SELECT 1", kDeclareCursor, "c"},
      {"DECLARE c NO SCROLL CURSOR WITHOUT HOLD FOR SELECT 1", kDeclareCursor, "c"},
      {"DECLARE c BINARY INSENSITIVE CURSOR WITH HOLD FOR SELECT 1", kDeclareHeldCursor, "c"},
      {"DECLARE c TABLE", kUnknown},
      {"CLOSE c", kCloseCursor, "c"},
      {"CLOSE ALL", kCloseCursor},
      {"CREATE TEMP TABLE t()", kCreateTemporary},
      {"CREATE GLOBAL TEMPORARY TABLE t()", kCreateTemporary},
      {"CREATE OR REPLACE TEMP VIEW v AS SELECT 1", kCreateTemporary},
      {"CREATE TABLE pg_temp.t()", kCreateTemporary},
      {"SELECT 1 INTO LOCAL TEMP t", kCreateTemporary},
      {"CREATE TABLE t()", kOther},
      {"COPY t FROM STDIN", kCopy},
      {"LOAD 'x'", kLoad},
      {"SELECT 1", kSelect},
      {"((SELECT 1) UNION SELECT 2)", kSelect},
      {"(COMMIT)", kUnknown},
      {"VALUES (1)", kSelect},
      {"TABLE t", kSelect},
      {"WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", kSelect},
      {"INSERT INTO temp VALUES (1)", kOther},
      {"EXPLAIN SELECT 1", kOther},
      {"EXPLAIN (COSTS off, ANALYZE) EXECUTE p", kUnknown},
      {"DO $$ BEGIN END $$", kUnknown},
      {"CALL p()", kUnknown},
      {"FROBNICATE", kUnknown},
      {"\"select\" 1", kUnknown},
      {"U&\"select\" 1", kUnknown},
      {"'a'", kUnknown},
      {"(", kUnknown},
  };
  for (const auto& each : cases) {
    const auto statement = only(each.text);
    EXPECT_EQ(statement.kind, each.kind) << each.text;
    EXPECT_EQ(statement.name, each.name) << each.text;
    // Comments, space and another case of letters change nothing.
    std::string spaced = "/* a */ ";
    for (const char* c = each.text; *c != '\0'; ++c) {
      if (*c == ' ')
        spaced += " -- ;\n";
      else
        spaced += *c;
    }
    if (std::string_view(each.text).find_first_of("'\"$") == std::string_view::npos) {
      EXPECT_EQ(only(spaced).kind, each.kind) << spaced;
      EXPECT_EQ(only(spaced).name, each.name) << spaced;
    }
  }
}

TEST(SqlStatement, TellsWhatATransactionMayDo) {
  EXPECT_EQ(only("BEGIN").access, SqlAccess::kUnspecified);
  EXPECT_EQ(only("BEGIN READ ONLY").access, SqlAccess::kReadOnly);
  EXPECT_EQ(only("START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE").access,
            SqlAccess::kReadOnly);
  EXPECT_EQ(only("BEGIN READ WRITE, READ WRITE").access, SqlAccess::kReadWrite);
  EXPECT_EQ(only("BEGIN READ ONLY, READ WRITE").access, SqlAccess::kUnknown);
  EXPECT_EQ(only("SET TRANSACTION READ WRITE").access, SqlAccess::kReadWrite);
  EXPECT_TRUE(only("COMMIT AND CHAIN").chain);
  EXPECT_FALSE(only("COMMIT AND NO CHAIN").chain);
}

TEST(SqlStatement, TellsWhatEndsWithItsTransaction) {
  EXPECT_TRUE(only("SET LOCAL work_mem = 1").local);
  EXPECT_EQ(only("SET LOCAL work_mem = 1").name, "work_mem");
  EXPECT_TRUE(only("SET LOCAL ROLE bob").local);
  EXPECT_TRUE(only("SET LOCAL x TO DEFAULT").local);
  EXPECT_EQ(only("SET LOCAL x TO DEFAULT").kind, kSet);
  EXPECT_FALSE(only("SET SESSION work_mem = 1").local);
  EXPECT_FALSE(only("SET TIME ZONE LOCAL").local);
}

TEST(SqlStatement, HintsAtWhatItsFunctionsDo) {
  EXPECT_TRUE(only("SELECT pg_advisory_lock(1)").has(SqlHint::kAdvisoryLock));
  EXPECT_TRUE(only("SELECT PG_TRY_advisory_xact_lock(1)").has(SqlHint::kAdvisoryLock));
  EXPECT_TRUE(only("INSERT INTO t SELECT pg_catalog.\"set_config\"('a', 'b', false)")
                  .has(SqlHint::kSetConfig));
  EXPECT_TRUE(only("SELECT nextval('s')").has(SqlHint::kSequence));
  EXPECT_TRUE(only("SELECT lastval()").has(SqlHint::kSequence));
  EXPECT_TRUE(only("DROP TABLE pg_temp_3.t").has(SqlHint::kTemporary));
  EXPECT_EQ(only("SELECT 'set_config', settings, lastvalue, pg_sleep(1) /* nextval */").hints, 0);
  // Also where the kind isn't known, and each statement its own.
  EXPECT_TRUE(only("DO x set_config 'a").has(SqlHint::kSetConfig));
  EXPECT_EQ(statements("SELECT nextval('s'); SELECT 1")[1].hints, 0);
}

TEST(SqlStatement, InDoubtIsUnknownBehindManyTokens) {
  std::string text = "DECLARE c ";
  for (int i = 0; i < 40; ++i) text += "NO SCROLL ";
  EXPECT_EQ(only(text + "CURSOR WITH HOLD FOR SELECT 1").kind, kUnknown);
  std::string modes = "BEGIN READ ONLY";
  for (int i = 0; i < 40; ++i) modes += ", READ ONLY";
  EXPECT_EQ(only(modes).kind, kUnknown);
}

}  // namespace
}  // namespace clonesafe::wire::postgres
