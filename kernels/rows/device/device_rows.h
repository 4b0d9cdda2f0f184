// The passes of row_threads.h on a device: on a card in the stream, on the
// CPU at once. Pointers in tasks are the device's.

#ifndef NARROW_KERNELS_ROWS_DEVICE_DEVICE_ROWS_H_
#define NARROW_KERNELS_ROWS_DEVICE_DEVICE_ROWS_H_

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/rows/device/row_threads.h"

namespace narrow {

absl::Status RunRows(const row_threads::NormTask& task, DeviceStream* stream);
absl::Status RunRows(const row_threads::FiniteTask& task, DeviceStream* stream);
absl::Status RunRows(const row_threads::ScoreTask& task, DeviceStream* stream);
absl::Status RunRows(const row_threads::SoftmaxTask& task,
                     DeviceStream* stream);
absl::Status RunRows(const row_threads::CrossTask& task, DeviceStream* stream);
absl::Status RunRows(const row_threads::GateTask& task, DeviceStream* stream);
absl::Status RunRows(const row_threads::RotateTask& task, DeviceStream* stream);
absl::Status RunRows(const row_threads::MixTask& task, DeviceStream* stream);
absl::Status RunRows(const row_threads::BiasTask& task, DeviceStream* stream);
absl::Status RunRows(const row_threads::ColumnsTask& task,
                     DeviceStream* stream);
absl::Status RunRows(const row_threads::MagnitudesTask& task,
                     DeviceStream* stream);
absl::Status RunRows(const row_threads::PickTask& task, DeviceStream* stream);

}  // namespace narrow

#endif  // NARROW_KERNELS_ROWS_DEVICE_DEVICE_ROWS_H_
