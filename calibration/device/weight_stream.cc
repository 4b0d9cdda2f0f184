#include "calibration/device/weight_stream.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr int64_t kAlignment = 256;
constexpr int64_t kNone = -1;

int64_t MatrixBytes(const WeightRows& weight, bool as_floats) {
  const int64_t n = weight.n_rows * weight.n_cols() * (as_floats ? 4 : 2);
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

int64_t GroupBytes(const WeightGroup& group, bool as_floats) {
  int64_t n = 0;
  for (const WeightRows& weight : group) {
    n += MatrixBytes(weight, as_floats);
  }
  return n;
}

// Which groups stay, and in how much memory the others take turns.
struct Shares {
  int64_t n_kept = 0;       // the first ones
  int64_t place_bytes = 0;  // of the largest of the others
  int n_places = 0;
};

// As many as `n_bytes` hold. REQUIRES: the largest group fits.
Shares ShareOut(const std::vector<int64_t>& sizes, int64_t n_bytes) {
  const auto n = static_cast<int64_t>(sizes.size());
  // largest[i]: of group i and those behind it.
  std::vector<int64_t> largest(sizes.size() + 1, 0);
  for (int64_t i = n; i-- > 0;) {
    largest[i] = std::max(sizes[i], largest[i + 1]);
  }
  Shares shares;
  int64_t kept = 0;
  for (int64_t i = 0; i <= n; ++i) {
    // A single group behind those that stay has a place of its own.
    const int n_places = static_cast<int>(std::min<int64_t>(n - i, 2));
    if (kept + n_places * largest[i] <= n_bytes) {
      shares = {i, largest[i], n_places};
    }
    kept += i < n ? sizes[i] : 0;
  }
  if (shares.n_places == 0 && shares.n_kept == 0) {
    shares = {0, largest[0], 1};
  }
  return shares;
}

// Memory for one group, and what is in it.
struct Place {
  enum class State { kEmpty, kWanted, kReady };

  DeviceBuffer memory;
  int64_t group = kNone;
  State state = State::kEmpty;
  bool is_acquired = false;
  absl::Status status;  // of the reading
  std::vector<DeviceMatrix> matrices;
  WeightPieces::Marks there;  // reached when the matrices are
  DeviceEvent released;       // and when they are no longer used
  bool was_released = false;
};

class Stream : public WeightStream {
 public:
  Stream(std::vector<WeightGroup> groups, const WeightStreamOptions& options)
      : groups_(std::move(groups)), options_(options) {}
  ~Stream() override;

  absl::Status Open(const Device& device, const Checkpoint* model);

  absl::StatusOr<absl::Span<const DeviceMatrix>> Acquire(
      int64_t group, DeviceStream* stream) override;
  absl::Status Release(int64_t group, DeviceStream* stream) override;
  absl::Status Forget() override;
  bool keeps(int64_t group) const override { return group < shares_.n_kept; }
  int n_places() const override { return shares_.n_places; }

 private:
  using State = Place::State;

  absl::Status Allocate(const Device& device, const std::vector<int64_t>& sizes,
                        int64_t n_bytes);
  Place* Find(int64_t group);
  Place* PlaceFor(int64_t group);
  void Want(int64_t group, Place* place);
  void Prefetch(int64_t group);
  void ReadWanted();
  absl::Status Read(Place* place);

  const std::vector<WeightGroup> groups_;
  const WeightStreamOptions options_;
  std::unique_ptr<WeightPieces> pieces_;  // the thread's
  Shares shares_;
  // Those of groups that stay, and those where others take turns.
  std::vector<std::unique_ptr<Place>> places_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Place*> wanted_;  // guarded, as are the states of places
  size_t next_turn_ = 0;
  bool is_reading_ = false;
  bool is_stopping_ = false;
  std::thread thread_;
};

Stream::~Stream() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
  pieces_.reset();  // waits for its streams; places are freed after it
}

absl::Status Stream::Open(const Device& device, const Checkpoint* model) {
  WeightPieces::Options options;
  options.as_floats = options_.as_floats;
  options.piece_bytes = options_.piece_bytes;
  options.n_threads = options_.n_threads;
  ASSIGN_OR_RETURN(pieces_,
                   WeightPieces::Create(device, model, groups_, options));
  int64_t n_bytes = options_.max_device_bytes - pieces_->device_bytes();
  if (options_.max_device_bytes == 0) {
    ASSIGN_OR_RETURN(n_bytes, device.FreeMemory());
    n_bytes -= n_bytes / 8;
  }
  std::vector<int64_t> sizes;
  for (const WeightGroup& group : groups_) {
    sizes.push_back(GroupBytes(group, options_.as_floats));
  }
  const auto largest = std::max_element(sizes.begin(), sizes.end());
  if (largest == sizes.end() || *largest == 0) {
    return absl::InvalidArgumentError("no weights to be streamed");
  }
  if (*largest > n_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the weights from '",
        groups_[static_cast<size_t>(largest - sizes.begin())].front().name(),
        "' on need ", *largest, " bytes of the device's memory at once, ",
        std::max<int64_t>(n_bytes, 0), " are left for them"));
  }
  if (options_.one_at_a_time) {
    n_bytes = *largest;
  }
  // What is free may be in pieces: less is tried, down to one place.
  const auto report = [this](int64_t n, absl::string_view why) {
    if (options_.report) {
      options_.report(absl::StrCat("weights get ", n, " bytes: ", why));
    }
  };
  const int64_t total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  RETURN_IF_ERROR(WithSmallerBatches(
                      std::min(n_bytes, std::max(total, *largest)), *largest,
                      [&](int64_t n) { return Allocate(device, sizes, n); },
                      report)
                      .status());
  if (shares_.n_places == 1 && !options_.one_at_a_time &&
      shares_.n_kept + 1 < static_cast<int64_t>(groups_.size()) &&
      options_.report) {
    options_.report(
        "memory holds the weights of one block at a time, so none are read "
        "ahead");
  }
  thread_ = std::thread([this] { ReadWanted(); });
  return absl::OkStatus();
}

absl::Status Stream::Allocate(const Device& device,
                              const std::vector<int64_t>& sizes,
                              int64_t n_bytes) {
  places_.clear();
  shares_ = ShareOut(sizes, n_bytes);
  for (int64_t i = 0; i < shares_.n_kept + shares_.n_places; ++i) {
    auto place = std::make_unique<Place>();
    const int64_t size = i < shares_.n_kept ? sizes[i] : shares_.place_bytes;
    ASSIGN_OR_RETURN(place->memory,
                     device.Allocate(static_cast<size_t>(size), "weights"));
    ASSIGN_OR_RETURN(place->released, device.NewEvent());
    for (DeviceEvent& mark : place->there) {
      ASSIGN_OR_RETURN(mark, device.NewEvent());
    }
    places_.push_back(std::move(place));
  }
  return absl::OkStatus();
}

// Where the group is, or will be; nullptr: nowhere.
Place* Stream::Find(int64_t group) {
  for (const auto& place : places_) {
    if (place->group == group) {
      return place.get();
    }
  }
  return nullptr;
}

// A place that the group may have now; nullptr: all are in use.
Place* Stream::PlaceFor(int64_t group) {
  if (keeps(group)) {
    return places_[static_cast<size_t>(group)].get();
  }
  for (int i = 0; i < shares_.n_places; ++i) {
    const size_t turn = next_turn_++ % static_cast<size_t>(shares_.n_places);
    Place* place = places_[static_cast<size_t>(shares_.n_kept) + turn].get();
    if (!place->is_acquired && place->state != State::kWanted) {
      return place;
    }
  }
  return nullptr;
}

void Stream::Want(int64_t group, Place* place) {
  place->group = group;
  place->state = State::kWanted;
  wanted_.push_back(place);
  changed_.notify_all();
}

// Reads the group if it is nowhere, and there is room.
void Stream::Prefetch(int64_t group) {
  if (!options_.prefetch || Find(group) != nullptr) {
    return;
  }
  if (Place* place = PlaceFor(group); place != nullptr) {
    Want(group, place);
  }
}

absl::StatusOr<absl::Span<const DeviceMatrix>> Stream::Acquire(
    int64_t group, DeviceStream* stream) {
  std::unique_lock<std::mutex> lock(mutex_);
  Place* place = Find(group);
  if (place != nullptr && place->is_acquired) {
    return absl::FailedPreconditionError(
        absl::StrCat("group ", group, " of weights is in use"));
  }
  if (place == nullptr) {
    // Groups that were read ahead in vain make room.
    changed_.wait(lock, [this] { return wanted_.empty() && !is_reading_; });
    place = PlaceFor(group);
    if (place == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(
          "no place for group ", group, " of weights while others are in use"));
    }
    Want(group, place);
  }
  changed_.wait(lock, [place] { return place->state != State::kWanted; });
  if (!place->status.ok()) {
    place->group = kNone;
    place->state = State::kEmpty;
    return std::exchange(place->status, absl::OkStatus());
  }
  place->is_acquired = true;
  for (const DeviceEvent& mark : place->there) {
    RETURN_IF_ERROR(stream->Wait(mark));
  }
  Prefetch((group + 1) % static_cast<int64_t>(groups_.size()));
  return absl::Span<const DeviceMatrix>(place->matrices);
}

absl::Status Stream::Release(int64_t group, DeviceStream* stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Place* place = Find(group);
  if (place == nullptr || !place->is_acquired) {
    return absl::FailedPreconditionError(
        absl::StrCat("group ", group, " of weights is not in use"));
  }
  place->is_acquired = false;
  place->was_released = true;
  RETURN_IF_ERROR(stream->Record(&place->released));
  // With one place it is only now that the next group has one.
  Prefetch((group + 1) % static_cast<int64_t>(groups_.size()));
  return absl::OkStatus();
}

absl::Status Stream::Forget() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return wanted_.empty() && !is_reading_; });
  for (const auto& place : places_) {
    if (place->is_acquired) {
      return absl::FailedPreconditionError(absl::StrCat(
          "group ", place->group, " of weights is in use and not forgotten"));
    }
    place->group = kNone;
    place->state = State::kEmpty;
    place->status = absl::OkStatus();
  }
  return absl::OkStatus();
}

// The thread's.
void Stream::ReadWanted() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_stopping_ || !wanted_.empty(); });
    if (is_stopping_) {
      return;
    }
    Place* place = wanted_.front();
    wanted_.pop_front();
    is_reading_ = true;
    lock.unlock();
    absl::Status status = Read(place);
    lock.lock();
    is_reading_ = false;
    place->status = std::move(status);
    place->state = State::kReady;
    changed_.notify_all();
  }
}

// Nobody else touches the place while it is wanted.
absl::Status Stream::Read(Place* place) {
  if (place->was_released) {
    RETURN_IF_ERROR(pieces_->Wait(place->released));
  }
  place->matrices.clear();
  auto* to = place->memory.as<uint8_t>();
  for (const WeightRows& weight : groups_[static_cast<size_t>(place->group)]) {
    RETURN_IF_ERROR(pieces_->Load(weight, to));
    place->matrices.push_back(
        {to, options_.as_floats, weight.n_rows, weight.n_cols()});
    to += MatrixBytes(weight, options_.as_floats);
  }
  return pieces_->Record(&place->there);
}

}  // namespace

absl::StatusOr<std::unique_ptr<WeightStream>> WeightStream::Create(
    const Device& device, const Checkpoint* model,
    std::vector<WeightGroup> groups, const WeightStreamOptions& options) {
  auto stream = std::make_unique<Stream>(std::move(groups), options);
  RETURN_IF_ERROR(stream->Open(device, model));
  return absl::StatusOr<std::unique_ptr<WeightStream>>(std::move(stream));
}

}  // namespace narrow
