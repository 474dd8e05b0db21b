#include "tests/unit/proxy/proxy_fixture.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <cstdio>
#include <memory>

#include "libclonesafe/page/generation_page_writer.h"

namespace clonesafe::proxy {
namespace {

// Of the whole process: the library maps it at its first call, and for good.
class Page {
 public:
  static Page& get() {
    static Page page;
    return page;
  }
  void publish(std::uint64_t generation, std::uint64_t reseed_epoch) {
    slot_.generation = generation;
    slot_.reseed_epoch = reseed_epoch;
    const auto now = writer_->read();
    ASSERT_TRUE(now && writer_->commit(now->control, slot_));
  }
  void clone() { publish(slot_.generation + 1, slot_.reseed_epoch + 1); }
  void resume() { publish(slot_.generation, slot_.reseed_epoch + 1); }

 private:
  Page() {
    const std::string path = folder_ / "generation";
    ::setenv("CLONESAFE_GENERATION_PAGE", path.c_str(), 1);
    slot_.generation = 1;
    slot_.reseed_epoch = 1;
    slot_.kernel_rng_epoch = 1;
    slot_.state = CLONESAFE_STATE_SAFE;
    slot_.tier = CLONESAFE_TIER_WORD;
    writer_ =
        std::make_unique<GenerationPageWriter>(GenerationPageWriter::open(path, slot_).value());
  }

  Folder folder_;
  clonesafe_generation_slot slot_{};
  std::unique_ptr<GenerationPageWriter> writer_;
};

// Before anything asks the library.
const bool kPageIsThere = (Page::get(), true);

void write_pem(const std::string& path, const std::function<int(std::FILE*)>& write) {
  std::FILE* const file = std::fopen(path.c_str(), "we");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(write(file), 1);
  std::fclose(file);
}

void add_extension(X509* certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  ASSERT_NE(extension, nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

}  // namespace

Folder::Folder() {
  std::string name = std::filesystem::temp_directory_path() / "clonesafe-proxy-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  path_ = name;
}
Folder::~Folder() {
  std::error_code none;
  std::filesystem::remove_all(path_, none);
}

void clone_this_machine() {
  Page::get().clone();
}
void resume_this_machine() {
  Page::get().resume();
}

void make_certificate(const Folder& folder, const std::string& name) {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  ASSERT_NE(key, nullptr);
  X509* const certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME* const subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate, subject);
  add_extension(certificate, NID_subject_alt_name, "DNS:" + name);
  add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
  ASSERT_NE(X509_sign(certificate, key, EVP_sha256()), 0);
  write_pem(folder / (name + ".pem"),
            [&](std::FILE* file) { return PEM_write_X509(file, certificate); });
  write_pem(folder / (name + ".key"), [&](std::FILE* file) {
    return PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
  X509_free(certificate);
  EVP_PKEY_free(key);
}

ProxyTest::ProxyTest() {
  EXPECT_TRUE(kPageIsThere);
}

}  // namespace clonesafe::proxy
