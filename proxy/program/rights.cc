#include "proxy/program/rights.h"

#include <cap-ng.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <vector>

namespace clonesafe::proxy {
namespace {

struct Account {
  uid_t user;
  gid_t group;
};

Result<Account> find(const std::string& user) {
  std::vector<char> buffer(16'384);
  passwd entry{};
  passwd* found = nullptr;
  if (const int error = ::getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
      error != 0)
    return fail_errno("user '" + user + "'", error);
  if (found == nullptr) return fail("user '" + user + "' is not known");
  return Account{.user = entry.pw_uid, .group = entry.pw_gid};
}

enum class Keep { kNetAdmin, kNothing };

Status drop(const std::string& user, Keep keep) {
  if (::capng_get_caps_process() != 0) return fail_errno("reading the proxy's capabilities");
  const bool kept =
      keep == Keep::kNetAdmin && ::capng_have_capability(CAPNG_PERMITTED, CAP_NET_ADMIN) == 1;
  // What bounds the programs that a process starts is changed with a right that a service manager
  // may have taken already.
  const bool bounds = ::capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) == 1;
  const capng_select_t what = bounds ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS;
  Account account{.user = ::geteuid(), .group = ::getegid()};
  if (!user.empty()) {
    const auto found = find(user);
    if (!found) return fail(found.error());
    account = *found;
  }
  ::capng_clear(what);
  if (kept) {
    const auto sets = static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED |
                                                (bounds ? CAPNG_BOUNDING_SET : 0));
    if (::capng_update(CAPNG_ADD, sets, CAP_NET_ADMIN) != 0)
      return fail("CAP_NET_ADMIN can't be kept");
  }
  if (account.user != ::geteuid()) {
    const auto flags =
        static_cast<capng_flags_t>(CAPNG_INIT_SUPP_GRP | (bounds ? CAPNG_CLEAR_BOUNDING : 0));
    if (const int result = ::capng_change_id(static_cast<int>(account.user),
                                             static_cast<int>(account.group), flags);
        result != 0)
      return fail_errno("becoming user '" + user + "' (step " + std::to_string(-result) + ")");
  } else if (const int result = ::capng_apply(what); result != 0) {
    return fail_errno("giving up capabilities (step " + std::to_string(-result) + ")");
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno("PR_SET_NO_NEW_PRIVS");
  return {};
}

}  // namespace

Status drop_rights(const std::string& user) {
  return drop(user, Keep::kNetAdmin);
}
Status drop_all_rights(const std::string& user) {
  return drop(user, Keep::kNothing);
}

}  // namespace clonesafe::proxy
