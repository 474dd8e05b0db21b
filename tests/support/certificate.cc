#include "tests/support/certificate.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <functional>
#include <memory>

namespace clonesafe::support {
namespace {

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
  void operator()(std::FILE* file) const { std::fclose(file); }
};

Status write_pem(const std::filesystem::path& path, const std::function<int(std::FILE*)>& write) {
  const std::unique_ptr<std::FILE, Free> file(std::fopen(path.c_str(), "we"));
  if (!file || write(file.get()) != 1) return fail_errno(path.string());
  return {};
}

bool add_extension(X509* certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, Free> extension(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

}  // namespace

Status make_certificate(const std::filesystem::path& folder, const std::string& name,
                        std::chrono::seconds until) {
  constexpr long kFrom = -2 * 3600;
  const std::unique_ptr<EVP_PKEY, Free> key(EVP_EC_gen("P-256"));
  const std::unique_ptr<X509, Free> made(X509_new());
  X509* const certificate = made.get();
  if (!key || certificate == nullptr) return fail("a certificate for " + name);
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), kFrom);
  X509_gmtime_adj(X509_getm_notAfter(certificate), until.count());
  X509_set_pubkey(certificate, key.get());
  X509_NAME* const subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate, subject);
  if (!add_extension(certificate, NID_subject_alt_name, "DNS:" + name) ||
      !add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE") ||
      X509_sign(certificate, key.get(), EVP_sha256()) == 0)
    return fail("a certificate for " + name);
  if (auto written = write_pem(folder / (name + ".pem"),
                               [&](std::FILE* file) { return PEM_write_X509(file, certificate); });
      !written)
    return written;
  return write_pem(folder / (name + ".key"), [&](std::FILE* file) {
    return PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
}

}  // namespace clonesafe::support
