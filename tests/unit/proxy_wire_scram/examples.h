#ifndef CLONESAFE_TESTS_UNIT_PROXY_WIRE_SCRAM_EXAMPLES_H_
#define CLONESAFE_TESTS_UNIT_PROXY_WIRE_SCRAM_EXAMPLES_H_

#include <string>
#include <string_view>

#include "proxy/wire/scram/base64.h"

namespace clonesafe::wire::scram {

// RFC 7677, section 3: user "user", password "pencil".
namespace rfc7677 {
inline constexpr std::string_view kClientNonce = "rOprNGfwEbeRWgbNEkqO";
inline constexpr std::string_view kServerNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
inline constexpr std::string_view kClientFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
inline constexpr std::string_view kServerFirst =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
inline constexpr std::string_view kClientFinal =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
inline constexpr std::string_view kServerFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
}  // namespace rfc7677

// psql and PostgreSQL 15.18: password "secret", and what pg_authid had of it.
namespace postgresql15 {
inline constexpr std::string_view kVerifier =
    "SCRAM-SHA-256$4096:yxTVAfHQ6oSIHNLlzAtawg==$L9qNVS2IbimEPNw6+dWgM1ygY7/B64QlNeLR/UrC8AU=:"
    "LNs5CfH4Da9rHWpbrqm90Hus+OJLC4Kk9YhX1wQhrM4=";
inline constexpr std::string_view kClientNonce = "gQZQozU/FvaG8eFYkoO6SIM9";
inline constexpr std::string_view kServerNonce = "hDEbvaHJJZweHJD8CDHTVKho";
inline constexpr std::string_view kClientFirst = "n,,n=,r=gQZQozU/FvaG8eFYkoO6SIM9";
inline constexpr std::string_view kServerFirst =
    "r=gQZQozU/FvaG8eFYkoO6SIM9hDEbvaHJJZweHJD8CDHTVKho,s=yxTVAfHQ6oSIHNLlzAtawg==,i=4096";
inline constexpr std::string_view kClientFinal =
    "c=biws,r=gQZQozU/FvaG8eFYkoO6SIM9hDEbvaHJJZweHJD8CDHTVKho,"
    "p=68XJ2Wj6CNVTHxDfuOKwKn3hb0Ndhm2wVw7b4UAwFIU=";
inline constexpr std::string_view kServerFinal = "v=hrvxXZF1pORexznZc/WuprP0AFX66xYwABeBUbPWJDk=";
}  // namespace postgresql15

}  // namespace clonesafe::wire::scram

#endif  // CLONESAFE_TESTS_UNIT_PROXY_WIRE_SCRAM_EXAMPLES_H_
