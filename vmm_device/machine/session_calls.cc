// The calls of the control socket (docs/protocols/api.md).
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <cstdio>

#include "vmm_device/machine/session_impl.h"
#include "vmm_device/snapshot/image.h"

namespace clonesafe {
namespace json = boost::json;
namespace {

constexpr std::chrono::milliseconds kPrepareDeadline{10'000};
constexpr std::chrono::milliseconds kPrepareDeadlineMax{600'000};

json::object failure(const std::string& why) {
  return {{"ok", false}, {"error", why}};
}
json::object done() {
  return {{"ok", true}};
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", std::to_integer<unsigned>(byte));
    text += digits;
  }
  return text;
}

std::string hex(std::uint64_t number) {
  char text[20];
  std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(number));
  return text;
}

std::int64_t microseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                               start)
      .count();
}

json::array repairs_of(const std::vector<agent_channel::RepairResult>& results) {
  json::array list;
  for (const agent_channel::RepairResult& repair : results)
    list.push_back(json::object{{"name", repair.name},
                                {"result", repair.result},
                                {"us", repair.us},
                                {"detail", repair.detail}});
  return list;
}

// The text of a member, `otherwise` if it is absent; an error if it is anything but one of `values`
// (any text, if there are none).
Result<std::string> text_member(const json::object& request, std::string_view name,
                                std::string otherwise,
                                std::initializer_list<std::string_view> values = {}) {
  const json::value* value = request.if_contains(json::string_view(name.data(), name.size()));
  if (value == nullptr) return otherwise;
  if (!value->is_string()) return fail("\"" + std::string(name) + "\" is not a string");
  std::string text(value->get_string());
  std::string expected;
  for (const std::string_view allowed : values) {
    if (text == allowed) return text;
    expected += (expected.empty() ? "\"" : " or \"") + std::string(allowed) + "\"";
  }
  if (values.size() != 0) return fail("\"" + std::string(name) + "\" must be " + expected);
  return text;
}

}  // namespace

struct Session::Impl::SnapshotCall {
  std::filesystem::path out;
  std::optional<snapshot::Key> key;
  std::filesystem::path base;  // of an incremental one; empty: a whole one
  bool is_fork = false;        // into memory, not to `out`
  ApiServer::Files files;      // of a fork
  Then then = Then::kResume;
  std::string announced;  // the id of a prepare that the agent was asked for; empty: none
  json::array steps;      // what the agent did to prepare
  ApiServer::Reply reply;
};

void Session::Impl::handle_call(const json::object& request, ApiServer::Reply reply) {
  auto call = text_member(request, "call", "");
  if (!call) {
    reply(failure(call.error().message()), {});
  } else if (*call == "status") {
    reply(status(), {});
  } else if (snapshot_in_progress_) {
    reply(failure("a snapshot is being taken"), {});
  } else if (*call == "pause") {
    pause(reply);
  } else if (*call == "resume") {
    resume(reply);
  } else if (*call == "stop") {
    reply(done(), [this] { finish(SessionEnd{.kind = SessionEnd::Kind::kStopped}); });
  } else if (*call == "snapshot") {
    snapshot(request, std::move(reply));
  } else if (*call == "fork") {
    fork(request, std::move(reply));
  } else {
    reply(failure("unknown call; known: status, pause, resume, stop, snapshot, fork"), {});
  }
}

json::object Session::Impl::status() const {
  const GenerationDevices& generation = machine_->generation();
  json::object result = done();
  result["state"] = running_ == Running::kRunning ? "running" : "paused";
  result["cpus"] = machine_->config().cpus;
  result["memory"] = machine_->config().memory;
  result["kind"] = std::string(name_of(generation.kind()));
  result["generation"] = hex(generation.generation());
  result["reseed_epoch"] = hex(generation.reseed_epoch());
  result["vm_generation_id"] = to_guid(generation.vm_generation_id());
  result["restore_id"] = hex(generation.restore_id());
  result["seed_present"] = generation.seed_present();
  result["page_registered"] = generation.registration().has_value();
  if (const std::string why = generation.registration_ended(); !why.empty())
    result["registration_ended"] = why;
  if (hello_)
    result["agent"] = json::object{{"version", hello_->agent}, {"kernel", hello_->kernel}};
  else
    result["agent"] = nullptr;
  if (report_) {
    result["safe"] = json::object{{"state", report_->state},
                                  {"us", safe_us_ > running_us_ ? safe_us_ - running_us_ : 0},
                                  {"repairs", repairs_of(report_->repairs)}};
  } else {
    result["safe"] = nullptr;
  }
  return result;
}

void Session::Impl::pause(const ApiServer::Reply& reply) {
  if (running_ == Running::kRunning) machine_->pause();
  running_ = Running::kPaused;
  reply(done(), {});
}

void Session::Impl::resume(const ApiServer::Reply& reply) {
  if (running_ == Running::kPaused) {
    if (auto resumed = machine_->resume(); !resumed) {
      reply(failure(resumed.error().message()), {});
      return;
    }
  }
  running_ = Running::kRunning;
  reply(done(), {});
}

void Session::Impl::snapshot(const json::object& request, ApiServer::Reply reply) {
  auto call = std::make_shared<SnapshotCall>();
  auto out = text_member(request, "out", "");
  auto then = text_member(request, "then", "resume", {"resume", "stop"});
  auto diff = text_member(request, "diff", "");
  auto key = text_member(request, "key", "");
  for (const auto* member : {&out, &then, &diff, &key}) {
    if (!*member) {
      reply(failure(member->error().message()), {});
      return;
    }
  }
  call->out = *out;
  if (!call->out.is_absolute()) {
    reply(failure("\"out\" must be an absolute path"), {});
    return;
  }
  // Known before anything is frozen or stopped; the writer checks again.
  struct stat status{};
  if (::lstat(call->out.c_str(), &status) == 0) {
    reply(failure(call->out.string() + ": exists already"), {});
    return;
  }
  if (request.contains("key")) {
    auto read = std::filesystem::path(*key).is_absolute()
                    ? snapshot::Key::read(*key)
                    : Result<snapshot::Key>(fail("\"key\" must be an absolute path"));
    if (!read) {
      reply(failure(read.error().message()), {});
      return;
    }
    call->key = std::move(*read);
  }
  call->base = *diff;
  if (request.contains("diff")) {
    if (auto checked = check_base(call->base); !checked) {
      reply(failure(checked.error().message()), {});
      return;
    }
  }
  call->then = *then == "stop" ? Then::kStop : Then::kResume;
  call->reply = std::move(reply);

  prepare_and_take(std::move(call), request);
}

void Session::Impl::fork(const json::object& request, ApiServer::Reply reply) {
  auto call = std::make_shared<SnapshotCall>();
  call->is_fork = true;
  call->reply = std::move(reply);
  prepare_and_take(std::move(call), request);
}

// Has the guest's agent prepare it, if that is asked for, then takes the snapshot.
void Session::Impl::prepare_and_take(std::shared_ptr<SnapshotCall> call,
                                     const json::object& request) {
  const auto prepare = text_member(request, "prepare", "none", {"agent", "none"});
  if (!prepare) {
    call->reply(failure(prepare.error().message()), {});
    return;
  }
  std::chrono::milliseconds deadline = kPrepareDeadline;
  if (const json::value* value = request.if_contains("deadline_ms")) {
    boost::system::error_code error;
    const auto given = value->is_number() ? value->to_number<std::int64_t>(error) : -1;
    if (error || given < 1 || given > kPrepareDeadlineMax.count()) {
      call->reply(
          failure("\"deadline_ms\" must be 1 to " + std::to_string(kPrepareDeadlineMax.count())),
          {});
      return;
    }
    deadline = std::chrono::milliseconds(given);
  }
  if (*prepare == "none") {
    take_snapshot(*call);
    return;
  }
  if (!agent_ || running_ == Running::kPaused) {
    call->reply(failure(agent_ ? "the machine is paused, so its agent can't prepare"
                               : "the machine has no vsock device, so no agent to prepare it"),
                {});
    return;
  }
  std::array<std::byte, 8> id{};
  SystemEntropy entropy;
  if (auto drawn = entropy.fill(id); !drawn) {
    call->reply(failure(drawn.error().message()), {});
    return;
  }
  call->announced = hex(id);
  snapshot_in_progress_ = true;
  agent_->prepare(call->announced, deadline,
                  [this, call](auto answer) { prepared(call, std::move(answer)); });
}

void Session::Impl::prepared(std::shared_ptr<SnapshotCall> call,
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
    call->reply(failure("prepare: " + why), {});
    return;
  }
  call->steps = repairs_of(prepared->steps);
  take_snapshot(*call);
}

void Session::Impl::take_snapshot(SnapshotCall& call) {
  const auto paused_at = std::chrono::steady_clock::now();
  const bool ran = running_ == Running::kRunning;
  if (ran) machine_->pause();
  if (machine_->ended()) {
    call.reply(failure("the machine has ended"), {});
    return;
  }
  auto written = call.is_fork ? write_image(call) : write_snapshot(call);
  if (written && call.then == Then::kStop) {
    call.reply(*written, [this] { finish(SessionEnd{.kind = SessionEnd::Kind::kStopped}); });
    return;
  }
  if (auto resumed = go_on(written.has_value(), call.announced); !resumed) {
    // A source that can't be told of its snapshot must not run.
    call.reply(failure(resumed.error().message()),
               [this, error = resumed.error()] { finish(fail(error)); });
    return;
  }
  if (!written) {
    call.reply(failure(written.error().message()), {});
    return;
  }
  // From the order to stop until the vCPUs were let go again: what the guest loses at most.
  if (ran) (*written)["pause_us"] = microseconds_since(paused_at);
  call.reply(*written, {}, std::move(call.files));
}

// That the changes since the snapshot in `dir` are known, so that one can lie over it.
Status Session::Impl::check_base(const std::filesystem::path& dir) const {
  if (!dir.is_absolute()) return fail("\"diff\" must be an absolute path");
  if (!machine_->tracks_dirty())
    return fail("no incremental snapshot: the machine was started without --track-dirty");
  if (!base_) return fail("no incremental snapshot: there is no whole one of this machine yet");
  auto base = snapshot::open_parent(dir);
  if (!base) return fail(base.error());
  if (base->digest() != *base_)
    return fail(dir.string() + ": not the last snapshot of this machine, whose digest is " +
                hex(*base_));
  return {};
}

Result<json::object> Session::Impl::write_snapshot(const SnapshotCall& call) {
  const auto start = std::chrono::steady_clock::now();
  auto sections = machine_->save();
  if (!sections) return fail(sections.error());
  const PageSet* dirty = nullptr;
  if (machine_->tracks_dirty()) {
    auto pages = machine_->dirty_pages();
    if (!pages) return fail(pages.error());
    dirty = *pages;
  }
  const bool incremental = !call.base.empty();
  auto written = snapshot::write(call.out, {.memory = machine_->memory(),
                                            .sections = std::move(*sections),
                                            .agent_connected = agent_connected_,
                                            .parent = incremental ? *base_ : parent_,
                                            .changed = incremental ? dirty : nullptr,
                                            .key = call.key ? &*call.key : nullptr});
  if (!written) return fail(written.error());
  if (dirty != nullptr) {
    machine_->forget_dirty();
    base_ = written->digest;
  }
  json::object result = done();
  result["out"] = call.out.string();
  result["id"] = hex(written->id);
  result["digest"] = hex(written->digest);
  result["memory"] = written->memory_size;
  result["data"] = written->data_size;
  if (incremental) result["pages"] = written->pages;
  result["written"] = written->data_size + written->state_size;
  result["us"] = microseconds_since(start);
  if (!call.announced.empty()) result["prepared"] = call.steps;
  return result;
}

Result<json::object> Session::Impl::write_image(SnapshotCall& call) {
  const auto start = std::chrono::steady_clock::now();
  auto sections = machine_->save();
  if (!sections) return fail(sections.error());
  auto image = snapshot::capture({.memory = machine_->memory(),
                                  .sections = std::move(*sections),
                                  .agent_connected = agent_connected_,
                                  .parent = parent_});
  if (!image) return fail(image.error());
  json::object result = done();
  result["digest"] = hex(image->digest);
  result["memory"] = image->memory_size;
  result["data"] = image->data_size;
  result["us"] = microseconds_since(start);
  if (!call.announced.empty()) result["prepared"] = call.steps;
  call.files.push_back(std::move(image->state));
  call.files.push_back(std::move(image->memory));
  return result;
}

// The source after its snapshot. If it was taken there may be clones: the source's generators must
// not go on as theirs do. A machine that was paused before stays so, with the news in its pages.
Status Session::Impl::go_on(bool was_taken, const std::string& announced) {
  if (was_taken) {
    if (auto told = machine_->announce_resume(); !told) return told;
    report_.reset();
    if (agent_) {
      const GenerationDevices& generation = machine_->generation();
      agent_->resumed(std::bit_cast<agent_channel::RestoreId>(generation.restore_id()),
                      generation.kind());
    }
    limit_seed();
  } else if (!announced.empty()) {
    agent_->abort(announced);
  }
  if (running_ == Running::kPaused) return {};
  return machine_->resume();
}

}  // namespace clonesafe
