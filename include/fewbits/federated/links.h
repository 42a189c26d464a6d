#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fewbits/export.h"

// The simulated network between the server and its clients. No clock is read: times are seconds of the simulation, and
// functions of the seed, the round and the client alone.
namespace fewbits::federated {

// Medians are over clients: what a client always has is log-normal around them, each quantity by a draw of its own.
struct LinkOptions {
  double upload_mbit = 1;          // Mbit/s, median
  double download_mbit = 10;       // Mbit/s, median
  double latency = 0.1;            // s, median; a transfer costs one
  double example_ms = 1;           // ms of computing for an example, median
  double spread = 0.7;             // standard deviation of the logarithm of each of the four, between clients
  double fade = 0;                 // the same of a client's speeds, between rounds and between looks at a connection
  double away = 0;                 // chance of a client not to be reachable in a round
  double lost = 0;                 // chance of a client to be lost in the middle of its upload
  double over_selection = 1;       // so many times as many clients are asked as are wanted
  std::optional<double> deadline;  // s from the start of a round; frames that are there later are dropped
  double patience = 0;             // s that a client waits at most for a good connection before it sends
  std::string trace;               // CSV file of clients' links, which are then not drawn (Links)
};

// "up=1,down=10,spread=0.7,lost=0.1,deadline=60,trace=FILE": any of link_options() in any order; the others, and all of
// an empty text, keep their defaults. Throws kBadArgument for a name or value that is none, and says what is expected.
FEWBITS_API LinkOptions parse_links(std::string_view text);

struct LinkOptionInfo {
  std::string name;
  std::string form;      // "up=MBIT"
  std::string summary;
};
FEWBITS_API std::vector<LinkOptionInfo> link_options();

// What a client always has.
struct Link {
  double upload = 0;              // bytes a second
  double download = 0;            // bytes a second
  double latency = 0;             // s
  double seconds_an_example = 0;
};

// What a client does in a round before it can send.
struct ClientWork {
  std::uint64_t download_bytes = 0;
  std::uint64_t examples = 0;     // that it computes gradients of: its own, times epochs
};

// How a client's frame comes through.
struct Delivery {
  std::uint32_t client = 0;
  double arrival = 0;             // s from the start of the round, when the last byte that it sends is there
  bool lost = false;              // in mid-upload: the frame is cut short
  std::uint64_t bytes_sent = 0;   // of the frame: all; fewer where it was cut
};

// The links of any number of clients: each is drawn when it is asked for, and none is kept.
class FEWBITS_API Links {
 public:
  // With a trace, speeds, latency and, where it has them, compute times are its rows': clients take them in a shuffled
  // order, each row as often as the others. Its first line is "upload_mbit,download_mbit,latency_s", and may go on with
  // ",example_ms". Throws kBadArgument for options out of range, and for a trace that cannot be read, naming the line.
  Links(LinkOptions options, std::uint64_t seed);

  const LinkOptions& options() const noexcept { return options_; }

  // Clients to ask where `wanted` frames are: over-selection, rounded up.
  std::size_t asked(std::size_t wanted) const noexcept;

  bool away(std::uint32_t round, std::uint32_t client) const noexcept;

  Link link(std::uint32_t client) const noexcept;

  // Download, computing, the wait for a good connection, upload. A client looks at its connection every 10 s, and sends
  // when it is no slower than its median, or when its patience ends. As the connection was when the upload began, so it
  // stays. A client that is lost sends a number of bytes uniform below `frame_bytes`.
  Delivery deliver(std::uint32_t round, std::uint32_t client, const ClientWork& work,
                   std::uint64_t frame_bytes) const noexcept;

  // Bytes of a frame that the client can be expected to have uploaded by the deadline, foretold before its luck in any
  // round is known: 0.8 of what its median speed would carry in the time that work, latencies and the mean wait leave.
  // 0 where they leave none; nothing where there is no deadline. Without fade such a frame is never late.
  std::optional<double> upload_budget(std::uint32_t client, const ClientWork& work) const noexcept;

 private:
  LinkOptions options_;
  std::uint64_t seed_;
  std::vector<Link> trace_;       // in the order in which clients take them; seconds_an_example < 0: not in the trace
};

// How a round ends.
struct RoundOutcome {
  std::vector<std::uint32_t> accepted;  // clients whose frames enter the sum, ascending
  double seconds = 0;
  std::uint64_t bytes_wasted = 0;       // sent by clients that were lost, late (to the end all the same) or surplus
};

// Accepts the first `wanted` frames that arrive whole and no later than the deadline; of two at the same time, that of
// the lower client. The round lasts until the last of them; where fewer come, until the deadline, or without one until
// no client sends any more. A client has at most one delivery; their order does not matter.
FEWBITS_API RoundOutcome close_round(std::span<const Delivery> deliveries, std::size_t wanted,
                                     std::optional<double> deadline);

}  // namespace fewbits::federated
