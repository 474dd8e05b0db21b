#ifndef CLONESAFE_TESTS_UNIT_PROXY_WIRE_POSTGRES_CAPTURED_H_
#define CLONESAFE_TESTS_UNIT_PROXY_WIRE_POSTGRES_CAPTURED_H_

#include <cstddef>
#include <string_view>

// What PostgreSQL 15.18 and its clients said to each other over TCP, without TLS; user alice, whose
// password is "secret".
namespace clonesafe::wire::postgres::captured {

template <std::size_t N>
constexpr std::string_view bytes(const char (&text)[N]) {
  return {text, N - 1};
}

// psql: SCRAM-SHA-256; a SELECT; LISTEN and a division by zero in one Query; COPY TO STDOUT.
inline constexpr auto kPsqlClient = bytes(
    "\000\000\000<\000\003\000\000user\000alice\000database\000postgres\000application_na"
    "me\000psql\000\000p\000\000\0006SCRAM-SHA-256\000\000\000\000 n,,n=,r=gQZQozU/FvaG8e"
    "FYkoO6SIM9p\000\000\000lc=biws,r=gQZQozU/FvaG8eFYkoO6SIM9hDEbvaHJJZweHJD8CDHTVKho,p="
    "68XJ2Wj6CNVTHxDfuOKwKn3hb0Ndhm2wVw7b4UAwFIU=Q\000\000\000(SELECT 1 AS one, NULL::tex"
    "t AS none\000Q\000\000\000\034LISTEN news; SELECT 1/0\000Q\000\000\000\036COPY (SELE"
    "CT 7) TO STDOUT\000X\000\000\000\004");
inline constexpr auto kPsqlServer = bytes(
    "R\000\000\000\027\000\000\000\012SCRAM-SHA-256\000\000R\000\000\000\\\000\000\000"
    "\013r=gQZQozU/FvaG8eFYkoO6SIM9hDEbvaHJJZweHJD8CDHTVKho,s=yxTVAfHQ6oSIHNLlzAtawg==,i="
    "4096R\000\000\0006\000\000\000\014v=hrvxXZF1pORexznZc/WuprP0AFX66xYwABeBUbPWJDk=R"
    "\000\000\000\010\000\000\000\000S\000\000\000\032application_name\000psql\000S\000"
    "\000\000\031client_encoding\000UTF8\000S\000\000\000\027DateStyle\000ISO, MDY\000S"
    "\000\000\000&default_transaction_read_only\000off\000S\000\000\000\027in_hot_standby"
    "\000off\000S\000\000\000\031integer_datetimes\000on\000S\000\000\000\033IntervalStyl"
    "e\000postgres\000S\000\000\000\024is_superuser\000on\000S\000\000\000\031server_enco"
    "ding\000UTF8\000S\000\000\0002server_version\00015.18 (Debian 15.18-0+deb12u1)\000S"
    "\000\000\000 session_authorization\000alice\000S\000\000\000#standard_conforming_str"
    "ings\000on\000S\000\000\000\025TimeZone\000Etc/UTC\000K\000\000\000\014\000\0001\372"
    "a\313|LZ\000\000\000\005IT\000\000\0003\000\002one\000\000\000\000\000\000\000\000"
    "\000\000\027\000\004\377\377\377\377\000\000none\000\000\000\000\000\000\000\000\000"
    "\000\031\377\377\377\377\377\377\000\000D\000\000\000\017\000\002\000\000\000\0011"
    "\377\377\377\377C\000\000\000\015SELECT 1\000Z\000\000\000\005IC\000\000\000\013LIST"
    "EN\000E\000\000\000ASERROR\000VERROR\000C22012\000Mdivision by zero\000Fint.c\000L86"
    "9\000Rint4div\000\000Z\000\000\000\005IH\000\000\000\011\000\000\001\000\000d\000"
    "\000\000\0067\012c\000\000\000\004C\000\000\000\013COPY 1\000Z\000\000\000\005I");

// pgbench -M prepared, behind its login: one statement, prepared, bound and executed.
inline constexpr auto kPgbenchClient = bytes(
    "P\000\000\000DP_0\000SELECT $1::int, abalance FROM (VALUES(1)) AS v(abalance);\000"
    "\000\000S\000\000\000\004B\000\000\000\026\000P_0\000\000\000\000\001\000\000\000"
    "\0011\000\001\000\000D\000\000\000\006P\000E\000\000\000\011\000\000\000\000\000S"
    "\000\000\000\004X\000\000\000\004");
inline constexpr auto kPgbenchServer = bytes(
    "1\000\000\000\004Z\000\000\000\005I2\000\000\000\004T\000\000\0008\000\002int4\000"
    "\000\000\000\000\000\000\000\000\000\027\000\004\377\377\377\377\000\000abalance\000"
    "\000\000\000\000\000\000\000\000\000\027\000\004\377\377\377\377\000\000D\000\000"
    "\000\020\000\002\000\000\000\0011\000\000\000\0011C\000\000\000\015SELECT 1\000Z\000"
    "\000\000\005I");

}  // namespace clonesafe::wire::postgres::captured

#endif  // CLONESAFE_TESTS_UNIT_PROXY_WIRE_POSTGRES_CAPTURED_H_
