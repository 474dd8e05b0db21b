// The calls `snapshot` and `fork` of the control socket (docs/protocols/api.md).
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>

#include "vmm_device/machine/session_impl.h"
#include "vmm_device/machine/session_json.h"
#include "vmm_device/snapshot/key.h"

namespace clonesafe {
namespace json = boost::json;
namespace {

constexpr std::chrono::milliseconds kPrepareDeadline{10'000};
constexpr std::chrono::milliseconds kPrepareDeadlineMax{600'000};
constexpr std::chrono::milliseconds kReclaimMax{60'000};

std::int64_t microseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                               start)
      .count();
}

Result<std::chrono::milliseconds> deadline_of(const json::object& request) {
  const auto given = number_member(request, "deadline_ms", kPrepareDeadline.count(), 1,
                                   kPrepareDeadlineMax.count());
  if (!given) return fail(given.error());
  return std::chrono::milliseconds(*given);
}

}  // namespace

struct Session::Impl::SnapshotCall {
  bool is_fork = false;      // into memory, for clones that need no file
  std::uint64_t clones = 0;  // that a fork is for
  std::filesystem::path out;
  UniqueFd folder;           // that it is made in, if the client gave one
  bool incremental = false;  // since base_
  std::optional<snapshot::Key> key;
  Then then = Then::kResume;
  std::string announced;  // the id of a prepare that the agent was asked for; empty: none
  std::chrono::steady_clock::time_point prepared_by;  // when the agent undoes what it did
  json::array steps;                                  // what the agent did to prepare
  std::optional<Reclaimed> reclaimed;                 // by the balloon, if there is one
  bool ran = false;                                   // when it was to be taken
  std::chrono::steady_clock::time_point paused_at;
  std::chrono::steady_clock::time_point started;
  ApiServer::Reply reply;
};

void Session::Impl::snapshot(ApiRequest request, ApiServer::Reply reply) {
  auto call = std::make_shared<SnapshotCall>();
  call->reply = std::move(reply);
  if (auto asked = read_snapshot_call(*call, request); !asked) {
    call->reply(api_failure(asked.error().message()), {});
    return;
  }
  prepare_and_take(std::move(call), request.body);
}

void Session::Impl::fork(const ApiRequest& request, ApiServer::Reply reply) {
  auto call = std::make_shared<SnapshotCall>();
  call->is_fork = true;
  call->reply = std::move(reply);
  const auto clones = number_member(request.body, "count", 1, 1, UINT32_MAX);
  if (!clones) {
    call->reply(api_failure(clones.error().message()), {});
    return;
  }
  call->clones = static_cast<std::uint64_t>(*clones);
  if (auto possible = check_disks("fork"); !possible) {
    call->reply(api_failure(possible.error().message()), {});
    return;
  }
  prepare_and_take(std::move(call), request.body);
}

// What is asked for, before anything is frozen or stopped.
Status Session::Impl::read_snapshot_call(SnapshotCall& call, ApiRequest& request) const {
  auto out = text_member(request.body, "out", "");
  auto then = text_member(request.body, "then", "resume", {"resume", "stop"});
  auto diff = text_member(request.body, "diff", "");
  for (const auto* member : {&out, &then, &diff})
    if (!*member) return fail(member->error());
  call.out = *out;
  if (!call.out.is_absolute()) return fail("\"out\" must be an absolute path");
  if (auto key = read_key(call, request); !key) return key;
  if (!request.files.empty()) call.folder = std::move(request.files.front());
  if (options_.jail != nullptr && !call.folder)
    return fail(
        "the machine is in a jail, where \"out\" has no name: send the directory above it along "
        "as a file descriptor");
  // The writer checks again.
  struct stat status{};
  const bool there = call.folder ? ::fstatat(call.folder.get(), call.out.filename().c_str(),
                                             &status, AT_SYMLINK_NOFOLLOW) == 0
                                 : ::lstat(call.out.c_str(), &status) == 0;
  if (there) return fail(call.out.string() + ": exists already");
  call.incremental = request.body.contains("diff");
  if (call.incremental) {
    if (auto checked = check_base(*diff); !checked) return checked;
  }
  call.then = *then == "stop" ? Then::kStop : Then::kResume;
  return call.then == Then::kStop ? Status() : check_disks("snapshot");
}

// The machine goes on: its disks must have a layer that can be kept apart from what it writes then.
Status Session::Impl::check_disks(const std::string& what) const {
  for (const auto& disk : machine_->disks()) {
    if (disk->disk().in_place())
      return fail("no " + what + " after which the machine goes on: " + disk->name() + ", " +
                  disk->disk().image().file().name() +
                  ", is written in place (start the machine with layer=FILE or layer=temporary" +
                  (what == "snapshot" ? ", or end it with --stop)" : ")"));
  }
  return {};
}

Status Session::Impl::read_key(SnapshotCall& call, const ApiRequest& request) {
  const json::value* wanted = request.body.if_contains("key");
  if (wanted == nullptr) return {};
  if (!wanted->is_bool()) return fail("\"key\" is neither true nor false");
  if (!wanted->get_bool()) return {};
  if (request.files.size() != 2)
    return fail(
        "\"key\" needs two file descriptors: the directory above \"out\", and the key's file");
  auto key = snapshot::Key::read_open(request.files[1].get(), "key");
  if (!key) return fail(key.error());
  call.key = std::move(*key);
  return {};
}

// Has the guest's agent prepare it, if that is asked for, then takes the snapshot.
void Session::Impl::prepare_and_take(std::shared_ptr<SnapshotCall> call,
                                     const json::object& request) {
  const auto prepare = text_member(request, "prepare", "none", {"agent", "none"});
  if (!prepare) {
    call->reply(api_failure(prepare.error().message()), {});
    return;
  }
  const auto deadline = deadline_of(request);
  if (!deadline) {
    call->reply(api_failure(deadline.error().message()), {});
    return;
  }
  if (*prepare == "none") {
    take_snapshot(call);
    return;
  }
  if (!agent_ || running_ == Running::kPaused) {
    call->reply(api_failure(agent_ ? "the machine is paused, so its agent can't prepare"
                                   : "the machine has no vsock device, so no agent to prepare it"),
                {});
    return;
  }
  std::array<std::byte, 8> id{};
  SystemEntropy entropy;
  if (auto drawn = entropy.fill(id); !drawn) {
    call->reply(api_failure(drawn.error().message()), {});
    return;
  }
  call->announced = hex(id);
  call->prepared_by = std::chrono::steady_clock::now() + *deadline;
  snapshot_in_progress_ = true;
  agent_->prepare(call->announced, *deadline,
                  [this, call](auto answer) { prepared(call, std::move(answer)); });
}

void Session::Impl::prepared(const std::shared_ptr<SnapshotCall>& call,
                             Result<agent_channel::Prepared> prepared) {
  snapshot_in_progress_ = false;
  std::string why;
  if (!prepared)
    why = prepared.error().message();
  else if (!prepared->ok)
    why = "the agent: " + prepared->error;
  if (!why.empty()) {
    // What it did is undone; one that never heard of it ignores this.
    agent_->abort(call->announced);
    call->reply(api_failure("prepare: " + why), {});
    return;
  }
  call->steps = repairs_of(prepared->steps);
  if (reclaim_)
    reclaim(call);
  else
    take_snapshot(call);
}

// The workload stands still by now, so nobody wants the memory. The agent waits for the snapshot
// until its deadline, of which the guest must have some left.
void Session::Impl::reclaim(const std::shared_ptr<SnapshotCall>& call) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      call->prepared_by - std::chrono::steady_clock::now());
  snapshot_in_progress_ = true;
  reclaim_->start(std::clamp(left * 3 / 4, std::chrono::milliseconds(0), kReclaimMax),
                  [this, call](const Reclaimed& result) { reclaimed(call, result); });
}

void Session::Impl::reclaimed(const std::shared_ptr<SnapshotCall>& call, const Reclaimed& result) {
  snapshot_in_progress_ = false;
  if (!result.deflated) {
    // Its clones would begin with less memory than it had.
    agent_->abort(call->announced);
    call->reply(api_failure("prepare: " + result.lacks), {});
    return;
  }
  call->reclaimed = result;
  take_snapshot(call);
}

void Session::Impl::take_snapshot(const std::shared_ptr<SnapshotCall>& call) {
  call->paused_at = std::chrono::steady_clock::now();
  call->ran = running_ == Running::kRunning;
  if (call->ran) machine_->pause();
  if (machine_->ended()) {
    call->reply(api_failure("the machine has ended"), {});
    return;
  }
  if (auto started = begin(call); !started) snapshot_failed(*call, started.error());
}

// The state now, memory on the writer's thread: the machine stays paused until that is done, while
// this thread goes on.
Status Session::Impl::begin(const std::shared_ptr<SnapshotCall>& call) {
  call->started = std::chrono::steady_clock::now();
  auto secrets = secret_ranges();
  if (!secrets) return fail(secrets.error());
  for (const auto& disk : machine_->disks()) {
    if (disk->flush_waits())
      return fail(disk->name() + ": its flushes are held until the guest is safe, and some wait");
  }
  if (auto flushed = machine_->flush_disks(); !flushed) return fail(flushed.error());
  auto sections = machine_->save();
  if (!sections) return fail(sections.error());
  snapshot::WriteRequest request{.memory = machine_->memory(),
                                 .sections = std::move(*sections),
                                 .zero_ranges = std::move(*secrets),
                                 .files = machine_->disk_files(),
                                 .agent_connected = agent_connected_,
                                 .parent = parent_};
  if (call->is_fork) {
    snapshot_in_progress_ = true;
    writer_.capture(std::move(request), [this, call](Result<snapshot::Image> image) {
      snapshot_in_progress_ = false;
      forked(*call, std::move(image));
    });
    return {};
  }
  if (machine_->tracks_dirty()) {
    auto pages = machine_->dirty_pages();
    if (!pages) return fail(pages.error());
    if (call->incremental) {
      request.parent = *base_;
      request.changed = *pages;
    }
  }
  request.key = call->key ? &*call->key : nullptr;
  request.folder = call->folder.get();
  snapshot_in_progress_ = true;
  writer_.start(call->out, std::move(request),
                [this, call](const Result<snapshot::Written>& written) {
                  snapshot_in_progress_ = false;
                  snapshot_written(*call, written);
                });
  return {};
}

void Session::Impl::snapshot_written(SnapshotCall& call, const Result<snapshot::Written>& written) {
  if (!written) return snapshot_failed(call, written.error());
  ++snapshots_;
  snapshot_bytes_ += written->data_size + written->state_size;
  if (machine_->tracks_dirty()) {
    machine_->forget_dirty();
    base_ = written->digest;
  }
  json::object result = api_done();
  result["out"] = call.out.string();
  result["id"] = hex(written->id);
  result["digest"] = hex(written->digest);
  result["memory"] = written->memory_size;
  result["data"] = written->data_size;
  if (call.incremental) result["pages"] = written->pages;
  result["written"] = written->data_size + written->state_size;
  answer_taken(call, std::move(result), {});
}

void Session::Impl::forked(SnapshotCall& call, Result<snapshot::Image> image) {
  if (!image) return snapshot_failed(call, image.error());
  forks_ += call.clones;
  json::object result = api_done();
  result["digest"] = hex(image->digest);
  result["memory"] = image->memory_size;
  result["data"] = image->data_size;
  ApiFiles files;
  files.push_back(std::move(image->state));
  files.push_back(std::move(image->memory));
  for (UniqueFd& file : image->files) files.push_back(std::move(file));
  answer_taken(call, std::move(result), std::move(files));
}

void Session::Impl::answer_taken(SnapshotCall& call, json::object result, ApiFiles files) {
  result["us"] = microseconds_since(call.started);
  if (!call.announced.empty()) result["prepared"] = call.steps;
  if (call.reclaimed) {
    result["reclaimed"] = call.reclaimed->pages * virtio::balloon::kPageSize;
    if (!call.reclaimed->lacks.empty()) result["reclaim_lacks"] = call.reclaimed->lacks;
  }
  if (call.then == Then::kStop) {
    call.reply(result, [this] { finish(SessionEnd{.kind = SessionEnd::Kind::kStopped}); });
    return;
  }
  if (!go_on_or_end(call, true)) return;
  // From the order to stop until the vCPUs were let go again: what the guest loses at most.
  if (call.ran) {
    const auto paused = microseconds_since(call.paused_at);
    result["pause_us"] = paused;
    pause_us_ = static_cast<std::uint64_t>(paused);
  }
  call.reply(result, {}, std::move(files));
}

void Session::Impl::snapshot_failed(SnapshotCall& call, const Error& error) {
  ++snapshots_failed_;
  if (go_on_or_end(call, false)) call.reply(api_failure(error.message()), {});
}

// False: a source that can't be told of its snapshot must not run; the call is answered.
bool Session::Impl::go_on_or_end(SnapshotCall& call, bool was_taken) {
  auto resumed = go_on(was_taken, call.announced);
  if (resumed) return true;
  call.reply(api_failure(resumed.error().message()),
             [this, error = resumed.error()] { finish(fail(error)); });
  return false;
}

}  // namespace clonesafe
