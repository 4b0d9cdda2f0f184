// Plans of parts in files of their own: a file changes only if what becomes of
// its rows does, so a build that knows files by their contents does again
// only what changed.
//
//   RETURN_IF_ERROR(WritePlans(*model, plan, request, opening, "plans/"));
//   // plans/head.plan, plans/part-00001-of-00004.plan, …
//   ASSIGN_OR_RETURN(ShardPlan shard, ReadShardPlan(path));
//   ASSIGN_OR_RETURN(int64_t n, WritePlannedPart(*model, shard, importance,
//   …));
//
// Plans have the container of parts (part_file.h), without rows. Functions of
// their arguments and the file system.

#ifndef NARROW_CONVERTER_PARTS_SHARD_PLAN_H_
#define NARROW_CONVERTER_PARTS_SHARD_PLAN_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/importance/importance.h"
#include "converter/parts/part.pb.h"
#include "converter/parts/write_part.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// Of request.shard.count parts, and the head. `folder` is created if need be;
// files that are there already are replaced only if their bytes change.
absl::Status WritePlans(const Checkpoint& model, const Plan& plan,
                        const PartRequest& request,
                        const parts::Opening& opening,
                        const std::string& folder);

struct ShardPlan {
  std::string path;
  parts::Part description;
  // Whether rows of it were planned with importance.
  bool needs_importance = false;
};

// Errors of PartFile::Open; InvalidArgument: a part, or the head.
absl::StatusOr<ShardPlan> ReadShardPlan(const std::string& path);

// `importance` may be null if it is not needed. InvalidArgument: the model or
// the importance is not that of the plan, by tensor; another version made it.
// The size of the file.
absl::StatusOr<int64_t> WritePlannedPart(const Checkpoint& model,
                                         const ShardPlan& shard,
                                         const ImportanceMatrix* importance,
                                         const std::string& version,
                                         const std::string& path,
                                         const PipelineOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PARTS_SHARD_PLAN_H_
