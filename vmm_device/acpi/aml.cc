#include "vmm_device/acpi/aml.h"

#include <initializer_list>

namespace clonesafe::aml {
namespace {

enum Opcode : std::uint8_t {
  kZeroOp = 0x00,
  kOneOp = 0x01,
  kNameOp = 0x08,
  kBytePrefix = 0x0a,
  kWordPrefix = 0x0b,
  kDwordPrefix = 0x0c,
  kStringPrefix = 0x0d,
  kQwordPrefix = 0x0e,
  kScopeOp = 0x10,
  kBufferOp = 0x11,
  kPackageOp = 0x12,
  kMethodOp = 0x14,
  kDualNamePrefix = 0x2e,
  kMultiNamePrefix = 0x2f,
  kExtOpPrefix = 0x5b,
  kArg0Op = 0x68,
  kDeviceOp = 0x82,  // after kExtOpPrefix
  kNotifyOp = 0x86,
  kEqualOp = 0x93,
  kIfOp = 0xa0,
};

void put(Bytes& bytes, std::uint64_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
}
Bytes raw(std::initializer_list<unsigned> values) {
  Bytes bytes;
  for (const unsigned value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}
void append(Bytes& bytes, const Bytes& more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}
Bytes joined(const Terms& terms) {
  Bytes bytes;
  for (const Bytes& term : terms) append(bytes, term);
  return bytes;
}

// PkgLength counts itself. One byte holds 6 bits; with more bytes the first holds the number of
// those that follow and the low 4 bits (20.2.4).
Bytes block(Bytes opcode, const Bytes& contents) {
  std::size_t size = contents.size() + 1;
  if (size < (1u << 6)) {
    put(opcode, size, 1);
  } else {
    std::size_t following = 1;
    while (contents.size() + 1 + following >= std::size_t{1} << (4 + 8 * following)) ++following;
    size = contents.size() + 1 + following;
    put(opcode, following << 6 | (size & 0xf), 1);
    put(opcode, size >> 4, following);
  }
  append(opcode, contents);
  return opcode;
}

Bytes named_block(Bytes opcode, std::string_view where, const Terms& terms) {
  Bytes contents = path(where);
  append(contents, joined(terms));
  return block(std::move(opcode), contents);
}

}  // namespace

Bytes integer(std::uint64_t value) {
  if (value == 0) return raw({kZeroOp});
  if (value == 1) return raw({kOneOp});
  Bytes bytes;
  if (value <= 0xff) {
    put(bytes, kBytePrefix, 1);
    put(bytes, value, 1);
  } else if (value <= 0xffff) {
    put(bytes, kWordPrefix, 1);
    put(bytes, value, 2);
  } else if (value <= 0xffffffff) {
    put(bytes, kDwordPrefix, 1);
    put(bytes, value, 4);
  } else {
    put(bytes, kQwordPrefix, 1);
    put(bytes, value, 8);
  }
  return bytes;
}

Bytes string(std::string_view text) {
  Bytes bytes = raw({kStringPrefix});
  for (const char c : text) put(bytes, static_cast<unsigned char>(c), 1);
  put(bytes, 0, 1);
  return bytes;
}

// Three letters of five bits and four hexadecimal digits, most significant byte first (6.1.5).
Bytes eisa_id(std::string_view id) {
  std::uint32_t value = 0;
  for (const char c : id.substr(0, 3)) value = value << 5 | static_cast<std::uint32_t>(c - 0x40);
  for (const char c : id.substr(3)) {
    value = value << 4 | static_cast<std::uint32_t>(c <= '9' ? c - '0' : c - 'A' + 10);
  }
  return integer(__builtin_bswap32(value));
}

Bytes package(const Terms& elements) {
  Bytes contents;
  put(contents, elements.size(), 1);
  append(contents, joined(elements));
  return block(raw({kPackageOp}), contents);
}

Bytes buffer(const Bytes& contents) {
  Bytes sized = integer(contents.size());
  append(sized, contents);
  return block(raw({kBufferOp}), sized);
}

Bytes path(std::string_view path) {
  Bytes bytes;
  if (path.starts_with('\\')) {
    put(bytes, '\\', 1);
    path.remove_prefix(1);
  }
  std::vector<std::string_view> segments;
  while (true) {
    const std::size_t dot = path.find('.');
    segments.push_back(path.substr(0, dot));
    if (dot == std::string_view::npos) break;
    path.remove_prefix(dot + 1);
  }
  if (segments.size() == 2) put(bytes, kDualNamePrefix, 1);
  if (segments.size() > 2) {
    put(bytes, kMultiNamePrefix, 1);
    put(bytes, segments.size(), 1);
  }
  for (const std::string_view segment : segments) {
    for (std::size_t i = 0; i < 4; ++i) {
      put(bytes, static_cast<unsigned char>(i < segment.size() ? segment[i] : '_'), 1);
    }
  }
  return bytes;
}

Bytes name(std::string_view where, const Bytes& value) {
  Bytes bytes = raw({kNameOp});
  append(bytes, path(where));
  append(bytes, value);
  return bytes;
}

Bytes scope(std::string_view where, const Terms& terms) {
  return named_block(raw({kScopeOp}), where, terms);
}

Bytes device(std::string_view where, const Terms& terms) {
  return named_block(raw({kExtOpPrefix, kDeviceOp}), where, terms);
}

Bytes method(std::string_view where, unsigned arguments, Serialized serialized,
             const Terms& terms) {
  Bytes contents = path(where);
  put(contents, arguments | (serialized == Serialized::kYes ? 8u : 0u), 1);
  append(contents, joined(terms));
  return block(raw({kMethodOp}), contents);
}

Bytes if_true(const Bytes& predicate, const Terms& terms) {
  Bytes contents = predicate;
  append(contents, joined(terms));
  return block(raw({kIfOp}), contents);
}

Bytes argument(unsigned number) {
  return raw({kArg0Op + number});
}

Bytes equal(const Bytes& left, const Bytes& right) {
  Bytes bytes = raw({kEqualOp});
  append(bytes, left);
  append(bytes, right);
  return bytes;
}

Bytes notify(std::string_view object, std::uint64_t value) {
  Bytes bytes = raw({kNotifyOp});
  append(bytes, path(object));
  append(bytes, integer(value));
  return bytes;
}

Bytes resource_template(const Terms& descriptors) {
  Bytes contents = joined(descriptors);
  append(contents, raw({0x79, 0}));  // end tag; a checksum of zero counts as right (6.4.2.9)
  return buffer(contents);
}

Bytes memory32_fixed(std::uint32_t base, std::uint32_t size) {
  Bytes bytes = raw({0x86, 9, 0, 1});
  put(bytes, base, 4);
  put(bytes, size, 4);
  return bytes;
}

Bytes qword_memory(std::uint64_t base, std::uint64_t size) {
  // Memory; consumer, minimum and maximum fixed; cacheable, read-write (6.4.3.5.1).
  Bytes bytes = raw({0x8a, 43, 0, 0, 0x0d, 0x03});
  put(bytes, 0, 8);  // granularity
  put(bytes, base, 8);
  put(bytes, base + size - 1, 8);
  put(bytes, 0, 8);  // translation
  put(bytes, size, 8);
  return bytes;
}

Bytes io(std::uint16_t port, std::uint8_t size) {
  Bytes bytes = raw({0x47, 1});
  put(bytes, port, 2);
  put(bytes, port, 2);
  put(bytes, 1, 1);  // alignment
  put(bytes, size, 1);
  return bytes;
}

Bytes edge_interrupt(std::uint32_t gsi) {
  Bytes bytes = raw({0x89, 6, 0, 0x03, 1});
  put(bytes, gsi, 4);
  return bytes;
}

}  // namespace clonesafe::aml
