/* A secret page: memory of a program that its VMM writes into no snapshot.
 * docs/formats/secret-page.md is the specification; this header is its layout.
 *
 * The agent makes the page, pins it, and registers its guest-physical address and nonce with the
 * VMM. Whatever the VMM keeps of the guest's memory has zeros in place of `data`, if the page still
 * begins with the magic and the registered nonce.
 *
 * All fields are little-endian. C11 and C++17.
 */
#ifndef CLONESAFE_ABI_SECRET_PAGE_H_
#define CLONESAFE_ABI_SECRET_PAGE_H_

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define CLONESAFE_SECRET_PAGE_MAGIC UINT64_C(0x3130434553534c43) /* "CLSSEC01" */
#define CLONESAFE_SECRET_PAGE_SIZE 0x1000u
#define CLONESAFE_SECRET_HEADER_SIZE 0x20u
#define CLONESAFE_SECRET_DATA_SIZE (CLONESAFE_SECRET_PAGE_SIZE - CLONESAFE_SECRET_HEADER_SIZE)
#define CLONESAFE_SECRET_NONCE_SIZE 16u
#define CLONESAFE_SECRET_PAGES_MAX 512u /* of one machine */

struct clonesafe_secret_page {
  uint64_t magic;
  uint8_t nonce[CLONESAFE_SECRET_NONCE_SIZE]; /* random, of this page; not secret */
  uint8_t reserved[8];
  uint8_t data[CLONESAFE_SECRET_DATA_SIZE];
};

static_assert(offsetof(struct clonesafe_secret_page, nonce) == 0x08, "secret page layout");
static_assert(offsetof(struct clonesafe_secret_page, data) == CLONESAFE_SECRET_HEADER_SIZE,
              "secret page layout");
static_assert(sizeof(struct clonesafe_secret_page) == CLONESAFE_SECRET_PAGE_SIZE,
              "secret page layout");

#endif /* CLONESAFE_ABI_SECRET_PAGE_H_ */
