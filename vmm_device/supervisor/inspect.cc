// What `clonevm inspect` and `clonevm verify` print.
#include <sys/stat.h>

#include <boost/json.hpp>
#include <optional>

#include "vmm_device/machine/disk_record.h"
#include "vmm_device/machine/saved_section.h"
#include "vmm_device/snapshot/chain.h"
#include "vmm_device/supervisor/key_option.h"
#include "vmm_device/supervisor/supervisor.h"
#include "vmm_device/supervisor/terminal.h"
#include "vmm_device/supervisor/text.h"

namespace clonesafe::supervisor {

namespace json = boost::json;

namespace {

using snapshot::Digest;
using snapshot::Header;
using snapshot::Snapshot;

bool is_zero(const Digest& digest) {
  return digest == Digest{};
}

// Bytes of memory.img that take room on the disk, nothing if it isn't there.
std::optional<std::uint64_t> memory_on_disk(const Snapshot& snapshot) {
  struct stat status = {};
  if (::stat((snapshot.directory() / snapshot::kMemoryFile).c_str(), &status) != 0)
    return std::nullopt;
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

std::string name_of(std::uint32_t tag) {
  const auto info = snapshot::tag_info(tag);
  return info ? std::string(info->name) : "tag " + std::to_string(tag);
}

struct Devices {
  std::vector<DiskRecord> disks;
  std::vector<NetConfig> nets;
  std::optional<BalloonConfig> balloon;
};

Result<Devices> devices_of(const Snapshot& snapshot) {
  auto disks = decode_disk_records(snapshot);
  if (!disks) return fail(disks.error());
  auto nets = saved_nets(snapshot);
  if (!nets) return fail(nets.error());
  auto balloon = saved_balloon(snapshot);
  if (!balloon) return fail(balloon.error());
  return Devices{.disks = std::move(*disks), .nets = std::move(*nets), .balloon = *balloon};
}

std::string text_of(const DiskRecord& disk) {
  return disk.image +
         (disk.read_only   ? ", read-only"
          : disk.has_layer ? ", with a layer"
                           : ", written in place") +
         (disk.serial.empty() ? "" : ", serial " + disk.serial);
}

std::string as_json(const Snapshot& snapshot, const Devices& devices) {
  const Header& header = snapshot.header();
  json::array disks;
  for (const DiskRecord& disk : devices.disks)
    disks.push_back(json::object{{"image", disk.image},
                                 {"read_only", disk.read_only},
                                 {"layer", disk.has_layer},
                                 {"serial", disk.serial}});
  json::array nets;
  for (const NetConfig& net : devices.nets)
    nets.push_back(json::object{{"tap", net.tap}, {"mac", network::to_string(net.mac)}});
  json::value balloon;
  if (devices.balloon) balloon = json::object{{"reporting", devices.balloon->reporting}};
  json::array regions;
  for (const auto& region : snapshot.memory_map())
    regions.push_back(json::object{
        {"start", hex(region.start.value())}, {"size", region.size}, {"offset", region.offset}});
  json::array sections;
  for (const auto& section : snapshot.sections())
    sections.push_back(json::object{{"tag", section.tag},
                                    {"name", name_of(section.tag)},
                                    {"version", section.version},
                                    {"critical", section.critical},
                                    {"bytes", section.bytes.size()}});
  const auto on_disk = memory_on_disk(snapshot);
  return json::serialize(json::object{
      {"snapshot", snapshot.directory().string()},
      {"format", std::to_string(header.format_major) + "." + std::to_string(header.format_minor)},
      {"id", hex(header.id)},
      {"digest", hex(header.digest)},
      {"parent", is_zero(header.parent) ? json::value(nullptr) : json::value(hex(header.parent))},
      {"created", utc_time(header.created_ns)},
      {"architecture", "x86-64"},
      {"memory_bytes", header.memory_size},
      {"memory_on_disk_bytes", on_disk ? json::value(*on_disk) : json::value(nullptr)},
      {"layer_pages",
       snapshot.layer() != nullptr ? json::value(snapshot.layer()->count()) : json::value(nullptr)},
      {"mac", header.has_mac ? json::value("HMAC-SHA256") : json::value(nullptr)},
      {"agent_connected", snapshot.agent_connected()},
      {"vcpus", snapshot.count(snapshot::Tag::vcpu)},
      {"disks", std::move(disks)},
      {"nets", std::move(nets)},
      {"balloon", std::move(balloon)},
      {"regions", std::move(regions)},
      {"sections", std::move(sections)}});
}

void row(Terminal& terminal, std::string name, const std::string& value) {
  name.resize(14, ' ');
  terminal.result(name + value);
}

void print_table(const Snapshot& snapshot, const Devices& devices, Terminal& terminal) {
  const Header& header = snapshot.header();
  const auto on_disk = memory_on_disk(snapshot);
  row(terminal, "snapshot", snapshot.directory().string());
  row(terminal, "format",
      std::to_string(header.format_major) + "." + std::to_string(header.format_minor));
  row(terminal, "id", hex(header.id));
  row(terminal, "digest", hex(header.digest));
  row(terminal, "parent", is_zero(header.parent) ? "none" : hex(header.parent));
  row(terminal, "created", utc_time(header.created_ns));
  row(terminal, "architecture", "x86-64");
  row(terminal, "memory",
      human_size(header.memory_size) + ", " +
          (on_disk ? human_size(*on_disk) + " on disk" : "memory.img is missing"));
  if (snapshot.layer() != nullptr)
    row(terminal, "incremental",
        std::to_string(snapshot.layer()->count()) + " of " +
            std::to_string(snapshot.layer()->pages()) + " pages");
  row(terminal, "mac", header.has_mac ? "HMAC-SHA256, not checked here" : "none");
  row(terminal, "vcpus", std::to_string(snapshot.count(snapshot::Tag::vcpu)));
  row(terminal, "agent", snapshot.agent_connected() ? "was connected" : "none");
  for (std::size_t index = 0; index < devices.disks.size(); ++index)
    row(terminal, "disk " + std::to_string(index), text_of(devices.disks[index]));
  for (std::size_t index = 0; index < devices.nets.size(); ++index)
    row(terminal, "net " + std::to_string(index),
        "tap " + devices.nets[index].tap + ", " + network::to_string(devices.nets[index].mac));
  if (devices.balloon)
    row(terminal, "balloon", devices.balloon->reporting ? "with reports of free pages" : "plain");
  for (const auto& region : snapshot.memory_map())
    row(terminal, "region", "0x" + hex(region.start.value()) + "  " + human_size(region.size));
  for (const auto& section : snapshot.sections()) {
    std::string name = name_of(section.tag);
    name.resize(24, ' ');
    row(terminal, "section",
        name + "version " + std::to_string(section.version) + ", " +
            std::to_string(section.bytes.size()) + " bytes" +
            (section.critical ? "" : ", not critical"));
  }
}

Result<snapshot::Chain> verify(const std::filesystem::path& directory,
                               std::span<const std::filesystem::path> parents,
                               const std::optional<std::filesystem::path>& key_file,
                               Terminal& terminal) {
  auto key = read_key(key_file);
  if (!key) return fail(std::move(key).error());
  const auto progress = [&](std::uint64_t done, std::uint64_t total) {
    terminal.progress("verifying memory", done, total);
  };
  return snapshot::verify_chain(directory, parents, progress, key->get());
}

}  // namespace

int inspect_command(const std::filesystem::path& directory, bool as_json_line, std::FILE* out,
                    std::FILE* err) {
  Terminal terminal(out, err);
  const auto snapshot = snapshot::open(directory);
  if (!snapshot) {
    terminal.error("inspect: " + snapshot.error().message());
    return 1;
  }
  const auto devices = devices_of(*snapshot);
  if (!devices) {
    terminal.error("inspect: " + devices.error().message());
    return 1;
  }
  if (as_json_line)
    terminal.result(as_json(*snapshot, *devices));
  else
    print_table(*snapshot, *devices, terminal);
  return 0;
}

int verify_command(const std::filesystem::path& directory, bool as_json_line, std::FILE* out,
                   std::FILE* err, std::span<const std::filesystem::path> parents,
                   const std::optional<std::filesystem::path>& key) {
  Terminal terminal(out, err);
  const auto chain = verify(directory, parents, key, terminal);
  if (!chain) {
    if (as_json_line)
      terminal.result(json::serialize(json::object{
          {"snapshot", directory.string()}, {"ok", false}, {"error", chain.error().message()}}));
    terminal.error("verify: " + chain.error().message());
    return 1;
  }
  const Header& header = chain->top().header();
  const std::size_t below = chain->snapshots().size() - 1;
  if (as_json_line)
    terminal.result(json::serialize(json::object{{"snapshot", directory.string()},
                                                 {"ok", true},
                                                 {"id", hex(header.id)},
                                                 {"digest", hex(header.digest)},
                                                 {"memory_bytes", header.memory_size},
                                                 {"parents", below}}));
  else
    terminal.result(
        directory.string() + ": as it was written (" + human_size(header.memory_size) +
        " of memory, digest " + hex(header.digest) + ")" +
        (below == 0 ? "" : ", and so is all that it lies over: " + std::to_string(below)));
  return 0;
}

}  // namespace clonesafe::supervisor
