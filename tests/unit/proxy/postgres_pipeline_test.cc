// Many messages of the extended query at once, and errors among them: the test plays the server.
#include <poll.h>
#include <sys/socket.h>

#include "proxy/protocols/postgres/pending.h"
#include "tests/unit/proxy/postgres_played_server.h"

namespace clonesafe::proxy {
namespace {

const std::string kGroup =
    parse_message("", "SELECT 1") + bind_message("") + execute_message() + sync_message();

const std::string kCopyDone("c\0\0\0\4", 5);

class PostgresPipelineTest : public PlayedPostgresTest {
 protected:
  // The group without its Sync fails at its first message, and the application knows.
  void fail_group() {
    under_way(parse_message("", "SELECT no") + bind_message("") + execute_message() + kFlush);
    server_->send(error("ERROR", "42703"));
    EXPECT_EQ(application_->receive().type, 'E');
  }
  void begin_copy() {
    under_way(bind_message("copy") + execute_message() + sync_message());
    server_->send(kBindComplete + std::string("G\0\0\0\x09\0\0\1\0\0", 10));
    EXPECT_EQ(application_->receive().type, '2');
    EXPECT_EQ(application_->receive().type, 'G');
  }
  // What comes from the application until nothing has come for a while.
  std::size_t receive_all() {
    std::string bytes(std::size_t{1} << 20, '\0');
    std::size_t all = 0;
    pollfd entry{.fd = server_->fd().get(), .events = POLLIN, .revents = 0};
    while (::poll(&entry, 1, 200) == 1) {
      const auto size = ::recv(entry.fd, bytes.data(), bytes.size(), 0);
      if (size <= 0) break;
      all += static_cast<std::size_t>(size);
    }
    return all;
  }
};

// A server takes no notice of them, so nobody is to wait for their answers.
TEST_F(PostgresPipelineTest, MessagesBehindAnErrorAreLeftOutUpToTheSync) {
  fail_group();
  application_->send(parse_message("", "SELECT 2") + bind_message("") + query_message("SELECT 3") +
                     sync_message());
  EXPECT_EQ(receive(server_->fd(), 5), sync_message());
  server_->send(ready('I'));
  EXPECT_EQ(application_->answer(), "I");
  exchange("SELECT 4", "SELECT 1", 'I');
  proxy_->clone();
  expect_goes_on();
}

TEST_F(PostgresPipelineTest, GroupBehindOneThatFailedIsAnsweredOnItsOwn) {
  under_way(kGroup + kGroup);
  server_->send(kParseComplete + error("ERROR", "42703") + ready('I'));
  EXPECT_EQ(application_->receive().type, '1');
  EXPECT_EQ(application_->answer(), "!42703 I");
  server_->send(kParseComplete + kBindComplete + done("SELECT 1") + ready('I'));
  EXPECT_EQ(application_->receive().type, '1');
  EXPECT_EQ(application_->receive().type, '2');
  EXPECT_EQ(application_->answer(), "SELECT 1 I");
  exchange("SELECT 2", "SELECT 1", 'I');
}

// The first Sync came while the server took everything for rows.
TEST_F(PostgresPipelineTest, CopyThatFailsHasOneSyncToBeAnswered) {
  begin_copy();
  under_way(std::string("d\0\0\0\x06no", 7));
  server_->send(error("ERROR", "22P04"));
  EXPECT_EQ(application_->receive().type, 'E');
  application_->send(kCopyDone + sync_message());
  EXPECT_EQ(receive(server_->fd(), 5), sync_message());
  server_->send(ready('I'));
  EXPECT_EQ(application_->answer(), "I");
  exchange("SELECT 2", "SELECT 1", 'I');
  proxy_->clone();
  expect_goes_on();
}

TEST_F(PostgresPipelineTest, CopyThatFailsAtItsEndHasOneSyncToBeAnswered) {
  begin_copy();
  under_way(kCopyDone + sync_message());
  server_->send(error("ERROR", "23505") + ready('I'));
  EXPECT_EQ(application_->answer(), "!23505 I");
  exchange("SELECT 2", "SELECT 1", 'I');
  proxy_->clone();
  expect_goes_on();
}

// As by a trigger BEFORE ... FOR EACH STATEMENT: the server takes both Syncs for what they are.
TEST_F(PostgresPipelineTest, CopyThatFailsBeforeItsDataIsReadHasTwoSyncsToBeAnswered) {
  begin_copy();
  under_way(kCopyDone + sync_message());
  server_->send(error("ERROR", "P0001") + ready('I'));
  EXPECT_EQ(application_->answer(), "!P0001 I");
  under_way(query_message("SELECT 2"));
  server_->send(ready('I') + done("SELECT 1") + ready('I'));
  EXPECT_EQ(application_->answer(), "I");
  EXPECT_EQ(application_->answer(), "SELECT 1 I");
  exchange("SELECT 3", "SELECT 1", 'I');
  proxy_->clone();
  expect_goes_on();
}

TEST_F(PostgresPipelineTest, CopyThatFailsBeforeItsEndIsSentHasItsFirstSyncAnswered) {
  begin_copy();
  server_->send(error("ERROR", "P0001") + ready('I'));
  EXPECT_EQ(application_->answer(), "!P0001 I");
  under_way(kCopyDone + sync_message());
  server_->send(ready('I'));
  EXPECT_EQ(application_->answer(), "I");
  server_->send(ready('I'));
  EXPECT_EQ(application_->answer(), "!08P01 end") << "and no other";
}

// It has its error: the Sync, sent or not, gets the transaction's status and nothing else.
TEST_F(PostgresPipelineTest, LossBehindAnErrorInATransactionAddsNoOther) {
  exchange("BEGIN", "BEGIN", 'T');
  fail_group();
  proxy_->clone();
  application_->send(bind_message("") + execute_message() + sync_message());
  EXPECT_EQ(application_->answer(), "E");
  EXPECT_EQ(application_->query("SELECT 1"), "!25P02 E") << "it was told already";
  EXPECT_EQ(application_->query("ROLLBACK"), "ROLLBACK I");
  expect_goes_on();
}

TEST_F(PostgresPipelineTest, LossBehindAnErrorAndItsSyncAddsNoOther) {
  exchange("BEGIN", "BEGIN", 'T');
  fail_group();
  under_way(sync_message());
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "E");
  EXPECT_EQ(application_->query("ROLLBACK"), "ROLLBACK I");
  expect_goes_on();
}

TEST_F(PostgresPipelineTest, ApplicationThatIsFarAheadWaits) {
  constexpr std::size_t kMessages = 100'000;
  constexpr std::size_t kOneRead = 64 * 1024;
  std::string messages, answers;
  for (std::size_t i = 0; i < kMessages; ++i) messages += sync_message();
  std::thread sender([&] { application_->send(messages); });
  std::size_t received = receive_all();
  EXPECT_GE(received, postgres::Pending::kCrowd * sync_message().size());
  EXPECT_LE(received, postgres::Pending::kCrowd * sync_message().size() + kOneRead);
  std::thread server([&] {
    for (std::size_t answered = 0;;) {
      std::string some;
      for (; answered < received / sync_message().size(); ++answered) some += ready('I');
      server_->send(some);
      if (answered == kMessages) return;
      received += receive(server_->fd(), sync_message().size()).size();
    }
  });
  EXPECT_EQ(receive(application_->fd(), kMessages * ready('I').size()).size(),
            kMessages * ready('I').size());
  server.join();
  sender.join();
  proxy_->clone();
  expect_goes_on();
}

// They would be taken for answers to what the application asks next.
TEST_F(PostgresPipelineTest, RepliesThatNobodyAskedForEndTheSession) {
  server_->send(done("SELECT 1"));
  EXPECT_EQ(application_->answer(), "!08P01 end");
}

}  // namespace
}  // namespace clonesafe::proxy
