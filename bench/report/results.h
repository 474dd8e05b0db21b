// report: what every program of bench/ prints: one JSON object for each figure.
#ifndef CLONESAFE_BENCH_REPORT_RESULTS_H_
#define CLONESAFE_BENCH_REPORT_RESULTS_H_

#include <optional>
#include <string>
#include <vector>

#include <boost/json/array.hpp>

namespace clonesafe::bench {

struct Figure {
  std::string name;  // of the list in docs/benchmarks.md: scripts know it
  double value = 0;
  std::string unit;
  std::string peer;  // whom it is compared with; empty: nobody
  std::optional<double> peer_value;
  // Of the ratio, which is above 1 where ours is better: the least that will do. Without a peer, of
  // the value: the most that will do.
  std::optional<double> goal;
  bool more_is_better = false;  // of value and peer_value
};

class Results {
 public:
  void add(const Figure& figure);
  // {"results": [...]}; false if it can't be written.
  bool write(const std::string& path) const;

 private:
  boost::json::array results_;
};

// The q-th quantile, 0 to 1, by nearest rank. `values` isn't empty.
double quantile(std::vector<double> values, double q);

}  // namespace clonesafe::bench

#endif  // CLONESAFE_BENCH_REPORT_RESULTS_H_
