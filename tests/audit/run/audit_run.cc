#include "tests/audit/run/audit_run.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <future>
#include <iterator>
#include <random>
#include <thread>

namespace clonesafe::audit {
namespace {

namespace fs = std::filesystem;
using std::chrono::ceil;
using std::chrono::milliseconds;
using std::chrono::seconds;

void progress(const AuditOptions& options, const std::string& text) {
  std::fprintf(stderr, "clonesafe-audit: %s: %s\n", options.label.c_str(), text.c_str());
}

Result<Machine> collect_from(const AuditOptions& options, const std::string& name, bool is_clone,
                             const CollectorAddress& address) {
  auto collection = collect(address, {.draws = options.draws,
                                      .wait = options.wait,
                                      .limit = ceil<seconds>(options.wait) + seconds(60)});
  if (!collection) return fail(collection.error(), name);
  if (auto saved = collection->save(options.machine.folder / "machines" / name); !saved) {
    return fail(saved.error());
  }
  return Machine{name, is_clone, *std::move(collection)};
}

// From all at the same time: a machine that has been read leaves its siblings the processor.
Result<std::vector<Machine>> collect_from_all(const AuditOptions& options,
                                              const std::vector<CollectorAddress>& addresses) {
  std::vector<std::future<Result<Machine>>> pending;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    pending.push_back(std::async(std::launch::async, [&options, &addresses, i] {
      return collect_from(options, "clone-" + std::to_string(i + 1), true, addresses[i]);
    }));
  }
  std::vector<Machine> machines;
  std::string failures;
  for (auto& one : pending) {
    auto machine = one.get();
    if (machine) {
      machines.push_back(*std::move(machine));
    } else {
      failures += (failures.empty() ? "" : "; ") + machine.error().message();
    }
  }
  if (!failures.empty()) return fail(failures);
  return machines;
}

// The last line a console shows, for errors.
std::string last_line(const fs::path& console) {
  std::string text = read_text(console);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text.substr(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
}

Status boot_and_warm_up(Guest& guest) {
  const auto ready = [&] { return read_text(guest.console).find("READY") != std::string::npos; };
  if (auto status = wait_until(ready, guest.process, seconds(240), "READY from the guest");
      !status) {
    return fail(status.error().message() + "; its console ends with: " + last_line(guest.console));
  }
  return {};
}

}  // namespace

std::string_view mode_name(Mode mode) {
  switch (mode) {
    case Mode::without:
      return "without";
    case Mode::unannounced:
      return "unannounced";
    case Mode::announced:
      return "announced";
  }
  return "?";
}

Result<Mode> parse_mode(std::string_view name) {
  for (const Mode mode : {Mode::without, Mode::unannounced, Mode::announced}) {
    if (mode_name(mode) == name) return mode;
  }
  return fail("'" + std::string(name) + "' is not a mode: without, unannounced, announced");
}

Result<Way> parse_way(std::string_view name) {
  constexpr std::pair<std::string_view, Way> kWays[] = {{"cold", Way::cold},
                                                        {"incremental", Way::incremental},
                                                        {"fork", Way::fork},
                                                        {"descendant", Way::descendant}};
  for (const auto& [known, way] : kWays) {
    if (known == name) return way;
  }
  return fail("'" + std::string(name) + "' is not a way: cold, incremental, fork, descendant");
}

std::string kernel_command_line(const VmmOptions& options) {
  std::string line = "console=ttyS0 quiet panic=-1";
  if (options.mode == Mode::without) line += " clonesafe.agent=off";
  if (!options.command_line.empty()) line += " " + options.command_line;
  return line;
}

Result<AuditResult> run_audit(const AuditOptions& options) {
  const fs::path folder = options.machine.folder;
  std::error_code error;
  if (fs::exists(folder / "result.json")) return fail(folder.string() + " holds a result already");
  fs::create_directories(folder / "machines", error);
  if (error) return fail("making " + folder.string() + ": " + error.message());

  auto vmm = options.vmm == "qemu" ? make_qemu(options.machine) : make_clonevm(options.machine);
  if (!vmm) return fail(vmm.error());

  progress(options, "booting");
  auto booted = (*vmm)->boot();
  if (!booted) return fail(booted.error());
  if (auto status = boot_and_warm_up(*booted); !status) return fail(status.error());
  auto parent = (*vmm)->make_parent(*std::move(booted));
  if (!parent) return fail(parent.error());

  // At a random moment of the load: a snapshot that always fell between two draws would prove
  // little.
  std::this_thread::sleep_for(milliseconds(std::random_device{}() % 300));
  progress(options, "taking the snapshot");
  if (auto status = (*vmm)->snapshot(*parent, options.clones); !status) return fail(status.error());
  const auto cuts = find_cuts((*vmm)->memory_image());
  if (!cuts) return fail(cuts.error());

  std::vector<Machine> machines;
  if (options.with_parent) {
    progress(options, "collecting from the parent, which went on");
    auto machine = collect_from(options, "parent", false, parent->collector);
    if (!machine) return fail(machine.error());
    machines.push_back(*std::move(machine));
  }
  parent->process.stop();

  progress(options, "restoring " + std::to_string(options.clones) + " clones");
  auto clones = (*vmm)->restore(options.clones);
  if (!clones) return fail(clones.error());
  progress(options, "collecting from the clones");
  auto collected = collect_from_all(options, clones->collectors);
  if (!collected) return fail(collected.error());
  std::ranges::move(*collected, std::back_inserter(machines));
  progress(options, "comparing");
  auto probes = analyse(*cuts, machines);
  if (!probes) return fail(probes.error());

  AuditResult result{.label = options.label,
                     .vmm = options.vmm,
                     .kernel = options.kernel_name,
                     .mode = std::string(mode_name(options.machine.mode)),
                     .cpu_mask = options.machine.cpu_mask,
                     .clones = options.clones,
                     .probes = *std::move(probes),
                     .restores = clones->times};
  std::ofstream file(folder / "result.json");
  file << to_json(result) << "\n";
  file.close();
  if (!file) return fail_errno("writing " + (folder / "result.json").string());
  return result;
}

}  // namespace clonesafe::audit
