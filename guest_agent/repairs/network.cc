#include "guest_agent/repairs/network.h"

#include <algorithm>

#include "guest_agent/network/document.h"
#include "guest_agent/network/interface_change.h"
#include "guest_agent/network/interface_lists.h"
#include "guest_agent/network/netlink.h"
#include "guest_agent/repairs/fresh_id.h"

namespace clonesafe::agent {
namespace {

Result<const Link*> interface_for(const InterfacePlan& plan, const std::vector<Link>& links) {
  if (!plan.match) {
    const auto named = std::ranges::find(links, plan.name, &Link::name);
    if (named == links.end()) return fail(plan.name + ": there is no such interface");
    return &*named;
  }
  // After a failure it may have its new address already.
  for (const auto& mac : {plan.match, plan.mac}) {
    if (!mac) continue;
    if (std::ranges::count(links, mac, &Link::mac) > 1)
      return fail(plan.name + ": several interfaces have the address " + to_string(*mac));
    const auto matched = std::ranges::find(links, mac, &Link::mac);
    if (matched != links.end()) return &*matched;
  }
  return fail(plan.name + ": no interface has the address " + to_string(*plan.match));
}

}  // namespace

Repair::Finding NetworkRepair::run(const RepairEvent& event) {
  if (!event.new_identity()) return skipped("this restore keeps the machine's identity");
  const auto plans = parse_network_document(event.restore.metadata);
  if (!plans) return failed(plans.error().message());
  if (plans->empty()) return skipped("the document says nothing of it");
  auto netlink = Netlink::open();
  if (!netlink) return failed(netlink.error().message());
  const auto links = list_links(*netlink);
  if (!links) return failed(links.error().message());
  // All are found before the first is changed.
  std::vector<const Link*> changed;
  for (const InterfacePlan& plan : *plans) {
    const auto link = interface_for(plan, *links);
    if (!link) return failed(link.error().message());
    if (std::ranges::find(changed, *link) != changed.end())
      return failed(plan.name + ": the document names " + (*link)->name + " twice");
    changed.push_back(*link);
  }
  std::string names;
  for (std::size_t at = 0; at < changed.size(); ++at) {
    const auto secret = fresh_id(kernel_, event, "clonesafe ipv6 secret v1 " + changed[at]->name);
    if (!secret) return failed(secret.error().message());
    InterfaceChange change(*netlink, *changed[at], (*plans)[at], *secret);
    if (auto done = change.run(); !done) return failed(done.error().message());
    names += (names.empty() ? "" : ", ") + changed[at]->name;
  }
  return ok(std::move(names));
}

}  // namespace clonesafe::agent
