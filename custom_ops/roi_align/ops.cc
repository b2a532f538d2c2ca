// TensorFlow's side of RoIAlign and RoIPool: what the ops take and give, their shapes, their refusals, and the hand-over
// to the kernels of cpu_kernels.cc and, if MRCNN_WITH_CUDA is defined, cuda_kernels.cu.
#include <string>
#include <type_traits>
#include <vector>

#include "../common/op_support.h"
#include "kernels.h"
#include "tensorflow/core/util/determinism.h"

namespace mrcnn {
namespace {

// --- Shapes ---

absl::Status roi_inputs(InferenceContext* c, int boxes_input, DimensionHandle* num_rois) {
  ShapeHandle boxes, index;
  DimensionHandle four;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(boxes_input), 2, &boxes));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(boxes, 1), 4, &four));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(boxes_input + 1), 1, &index));
  return c->Merge(c->Dim(boxes, 0), c->Dim(index, 0), num_rois);
}

absl::Status pooled_shape(InferenceContext* c, int num_levels, ShapeHandle* pooled) {
  int bins_y, bins_x;
  TF_RETURN_IF_ERROR(c->GetAttr("crop_height", &bins_y));
  TF_RETURN_IF_ERROR(c->GetAttr("crop_width", &bins_x));
  DimensionHandle batch = c->UnknownDim(), channels = c->UnknownDim(), num_rois;
  for (int level = 0; level < num_levels; ++level) {
    ShapeHandle features;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(level), 4, &features));
    TF_RETURN_IF_ERROR(c->Merge(c->Dim(features, 0), batch, &batch));
    TF_RETURN_IF_ERROR(c->Merge(c->Dim(features, 3), channels, &channels));
  }
  TF_RETURN_IF_ERROR(roi_inputs(c, num_levels, &num_rois));
  *pooled = c->MakeShape({num_rois, bins_y, bins_x, channels});
  return absl::OkStatus();
}

absl::Status single_shape(InferenceContext* c) {
  ShapeHandle pooled;
  TF_RETURN_IF_ERROR(pooled_shape(c, 1, &pooled));
  for (int i = 0; i < c->num_outputs(); ++i) c->set_output(i, pooled);
  return absl::OkStatus();
}

absl::Status multilevel_shape(InferenceContext* c) {
  int num_levels;
  ShapeHandle pooled;
  TF_RETURN_IF_ERROR(c->GetAttr("num_levels", &num_levels));
  TF_RETURN_IF_ERROR(pooled_shape(c, num_levels, &pooled));
  c->set_output(0, pooled);
  return absl::OkStatus();
}

// Gradients: input 0 is [R, h, w, C], the last inputs are the shapes of the features.
absl::Status gradient_shape(InferenceContext* c) {
  ShapeHandle upstream;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &upstream));
  const int first = c->num_inputs() - c->num_outputs();
  for (int level = 0; level < c->num_outputs(); ++level) {
    ShapeHandle features;
    TF_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(first + level, &features));
    TF_RETURN_IF_ERROR(c->WithRank(features, 4, &features));
    c->set_output(level, features);
  }
  return absl::OkStatus();
}

// --- Ops ---

#define MRCNN_TYPES "T: {half, bfloat16, float} = DT_FLOAT"

REGISTER_OP("MrcnnRoiAlign")
    .Input("features: T")
    .Input("boxes: float")
    .Input("box_index: int32")
    .Output("pooled: T")
    .Attr(MRCNN_TYPES)
    .Attr("crop_height: int >= 1")
    .Attr("crop_width: int >= 1")
    .Attr("spatial_scale: float")
    .Attr("sampling_ratio: int >= 0 = 0")
    .Attr("aligned: bool = false")
    .Attr("validate: bool = true")
    .SetShapeFn(single_shape)
    .Doc(R"doc(
RoIAlign of one feature map.

features: [batch, height, width, channels].
boxes: [num_rois, 4], (y1, x1, y2, x2) in pixels; cell i of an axis spans pixels [i, i + 1) / spatial_scale.
box_index: [num_rois], the image each RoI lies in; -1: the RoI gives zeros.
pooled: [num_rois, crop_height, crop_width, channels], summed in float32.
sampling_ratio: samples per bin and axis; 0: ceil(RoI side / bins).
aligned: shift by half a cell, and no least size of one cell.
validate: refuse boxes that are not finite or far too large, and indices out of range, for which a GPU is waited for.
  Without, they give zeros.
)doc");

REGISTER_OP("MrcnnRoiAlignGrad")
    .Input("gradient: T")
    .Input("boxes: float")
    .Input("box_index: int32")
    .Input("shape: int32")
    .Output("features: T")
    .Attr(MRCNN_TYPES)
    .Attr("crop_height: int >= 1")
    .Attr("crop_width: int >= 1")
    .Attr("spatial_scale: float")
    .Attr("sampling_ratio: int >= 0 = 0")
    .Attr("aligned: bool = false")
    .Attr("validate: bool = true")
    .SetShapeFn(gradient_shape)
    .Doc("Gradient of MrcnnRoiAlign in the features, whose shape is given.");

#define MRCNN_MULTILEVEL_ATTRIBUTES(OP)                                                             \
  OP.Attr("num_levels: int >= 1")                                                                   \
      .Attr(MRCNN_TYPES)                                                                            \
      .Attr("crop_height: int >= 1")                                                                \
      .Attr("crop_width: int >= 1")                                                                 \
      .Attr("spatial_scales: list(float) >= 1")                                                     \
      .Attr("min_level: int")                                                                       \
      .Attr("sampling_ratio: int >= 0 = 0")                                                         \
      .Attr("aligned: bool = false")                                                                \
      .Attr("level_rule: {'floor_inside', 'floor_after', 'round_image_area'} = 'floor_inside'")     \
      .Attr("level_epsilon: float = 1e-6")                                                          \
      .Attr("canonical_size: float = 224.0")                                                        \
      .Attr("canonical_level: int = 4")                                                             \
      .Attr("end_offset: float = 0.0")                                                              \
      .Attr("validate: bool = true")

MRCNN_MULTILEVEL_ATTRIBUTES(REGISTER_OP("MrcnnMultilevelRoiAlign")
                                .Input("features: num_levels * T")
                                .Input("boxes: float")
                                .Input("box_index: int32")
                                .Output("pooled: T"))
    .SetShapeFn(multilevel_shape)
    .Doc(R"doc(
RoIAlign of each box on the pyramid level that suits its size.

features: per level [batch, height, width, channels], fine to coarse.
boxes: [num_rois, 4], (y1, x1, y2, x2) in pixels.
box_index: [num_rois], the image each RoI lies in; -1: the RoI gives zeros.
pooled: [num_rois, crop_height, crop_width, channels], summed in float32.
spatial_scales: cells per pixel of each level.
min_level: the name of the finest level, 2 for P2.
level_rule: floor_inside: floor(canonical_level + log2(side / canonical_size + level_epsilon)); floor_after: the epsilon
  added after the logarithm; round_image_area: rounded, sides relative to the image's.
end_offset: pixels added to y2 and x2, for the floor rules once the level is chosen.
)doc");

MRCNN_MULTILEVEL_ATTRIBUTES(REGISTER_OP("MrcnnMultilevelRoiAlignGrad")
                                .Input("gradient: T")
                                .Input("boxes: float")
                                .Input("box_index: int32")
                                .Input("shapes: num_levels * int32")
                                .Output("features: num_levels * T"))
    .SetShapeFn(gradient_shape)
    .Doc("Gradient of MrcnnMultilevelRoiAlign in the features, whose shapes are given.");

REGISTER_OP("MrcnnRoiPool")
    .Input("features: T")
    .Input("boxes: float")
    .Input("box_index: int32")
    .Output("pooled: T")
    .Output("argmax: int32")
    .Attr(MRCNN_TYPES)
    .Attr("crop_height: int >= 1")
    .Attr("crop_width: int >= 1")
    .Attr("spatial_scale: float")
    .Attr("end_offset: float = 0.0")
    .Attr("validate: bool = true")
    .SetShapeFn(single_shape)
    .Doc(R"doc(
RoIPool: the maximum over whole cells of one feature map.

features: [batch, height, width, channels].
boxes: [num_rois, 4], (y1, x1, y2, x2) in pixels; scaled and rounded to cells, the last cell included.
box_index: [num_rois], the image each RoI lies in; -1: the RoI gives zeros.
pooled: [num_rois, crop_height, crop_width, channels]; 0 where a bin holds no cell.
argmax: the cell y * width + x of each maximum, -1 where a bin holds no cell.
)doc");

REGISTER_OP("MrcnnRoiPoolGrad")
    .Input("gradient: T")
    .Input("argmax: int32")
    .Input("box_index: int32")
    .Input("shape: int32")
    .Output("features: T")
    .Attr(MRCNN_TYPES)
    .SetShapeFn(gradient_shape)
    .Doc(R"doc(
Gradient of MrcnnRoiPool in the features, whose shape is given. An argmax or index out of range is refused on the CPU; on
a GPU, which is not waited for, it is left out of the sum.
)doc");

// --- What kernels share ---

// Reads the attributes that the op has; the others keep the meaning of their absence.
absl::Status read_attributes(tf::OpKernelConstruction* c, Params* p, bool* validate) {
  *p = Params{};
  p->num_levels = 1;
  p->sampling_ratio = 1;
  p->canonical_size = 224.0f;
  *validate = true;
  if (c->HasAttr("crop_height")) {
    TF_RETURN_IF_ERROR(c->GetAttr("crop_height", &p->bins_y));
    TF_RETURN_IF_ERROR(c->GetAttr("crop_width", &p->bins_x));
    TF_RETURN_IF_ERROR(c->GetAttr("validate", validate));
    if (static_cast<int64_t>(p->bins_y) * p->bins_x > 1 << 20) {
      return invalid("crop_height * crop_width: expected at most 1048576, got ", p->bins_y, " * ", p->bins_x);
    }
  }
  if (c->HasAttr("sampling_ratio")) {
    TF_RETURN_IF_ERROR(c->GetAttr("sampling_ratio", &p->sampling_ratio));
    TF_RETURN_IF_ERROR(c->GetAttr("aligned", &p->aligned));
    if (p->sampling_ratio > kMaxSamples) {
      return invalid("sampling_ratio: expected at most ", kMaxSamples, ", got ", p->sampling_ratio);
    }
  }
  if (c->HasAttr("end_offset")) TF_RETURN_IF_ERROR(c->GetAttr("end_offset", &p->end_offset));
  std::vector<float> scales;
  if (c->HasAttr("spatial_scale")) {
    scales.resize(1);
    TF_RETURN_IF_ERROR(c->GetAttr("spatial_scale", &scales[0]));
  }
  if (c->HasAttr("spatial_scales")) {
    std::string rule;
    TF_RETURN_IF_ERROR(c->GetAttr("num_levels", &p->num_levels));
    TF_RETURN_IF_ERROR(c->GetAttr("spatial_scales", &scales));
    TF_RETURN_IF_ERROR(c->GetAttr("min_level", &p->min_level));
    TF_RETURN_IF_ERROR(c->GetAttr("level_rule", &rule));
    TF_RETURN_IF_ERROR(c->GetAttr("level_epsilon", &p->level_epsilon));
    TF_RETURN_IF_ERROR(c->GetAttr("canonical_size", &p->canonical_size));
    TF_RETURN_IF_ERROR(c->GetAttr("canonical_level", &p->canonical_level));
    p->level_rule = rule == "floor_after" ? kFloorAfter : rule == "round_image_area" ? kRoundImageArea : kFloorInside;
    if (p->num_levels > kMaxLevels) {
      return invalid("features: expected at most ", kMaxLevels, " levels, got ", p->num_levels);
    }
    if (static_cast<int>(scales.size()) != p->num_levels) {
      return invalid("spatial_scales: expected one per level, ", p->num_levels, ", got ", scales.size());
    }
    if (!(p->canonical_size > 0.0f)) {
      return invalid("canonical_size: expected more than 0, got ", p->canonical_size);
    }
  }
  for (size_t level = 0; level < scales.size(); ++level) {
    p->levels[level].scale = scales[level];
    if (!(scales[level] > 0.0f) || scales[level] > 1e30f) {
      return invalid("spatial_scale of level ", level, ": expected a positive number, got ", scales[level]);
    }
  }
  return absl::OkStatus();
}

// Shape of level `level` of the features: into `p`, or an error.
absl::Status take_level(const tf::TensorShape& shape, int level, Params* p) {
  if (shape.dims() != 4) {
    return invalid("features of level ", level, ": expected [batch, height, width, channels], got ",
                           shape.DebugString());
  }
  for (int i = 0; i < 4; ++i) {
    if (shape.dim_size(i) > (1LL << 30)) {
      return invalid("features of level ", level, ": dimension ", i, " is ", shape.dim_size(i),
                             ", expected at most 2^30");
    }
  }
  const int batch = static_cast<int>(shape.dim_size(0)), channels = static_cast<int>(shape.dim_size(3));
  if (shape.dim_size(1) * shape.dim_size(2) >= (1LL << 31)) {
    return invalid("features of level ", level, ": expected fewer than 2^31 cells, got ", shape.DebugString());
  }
  if (level > 0 && (batch != p->batch || channels != p->channels)) {
    return invalid("features of level ", level, ": expected batch ", p->batch, " and ", p->channels,
                           " channels as on level 0, got ", shape.DebugString());
  }
  p->batch = batch;
  p->channels = channels;
  p->levels[level].height = static_cast<int>(shape.dim_size(1));
  p->levels[level].width = static_cast<int>(shape.dim_size(2));
  return absl::OkStatus();
}

absl::Status take_rois(const tf::Tensor& boxes, const tf::Tensor& index, Params* p) {
  if (boxes.dims() != 2 || boxes.dim_size(1) != 4) {
    return invalid("boxes: expected [num_rois, 4], got ", boxes.shape().DebugString());
  }
  if (index.dims() != 1 || index.dim_size(0) != boxes.dim_size(0)) {
    return invalid("box_index: expected [", boxes.dim_size(0), "], one per box, got ",
                           index.shape().DebugString());
  }
  if (boxes.dim_size(0) > (1LL << 29)) return invalid("boxes: expected at most 2^29, got ", boxes.dim_size(0));
  p->num_rois = static_cast<int>(boxes.dim_size(0));
  return absl::OkStatus();
}

absl::Status explain(const Params& p, const FaultAt& at) {
  const std::string roi = absl::StrCat("RoI ", at.roi, ": ");
  const std::string box =
      absl::StrCat("(", at.box[0], ", ", at.box[1], ", ", at.box[2], ", ", at.box[3], ")");
  switch (at.fault) {
    case kBadIndex:
      return invalid(roi, "box_index is ", at.image, ", expected -1 (no image) or 0 to ", p.batch - 1);
    case kNotFinite:
      return invalid(roi, "box (y1, x1, y2, x2) is ", box, ", expected finite numbers");
    case kTooLarge:
      return invalid(roi, "box (y1, x1, y2, x2) is ", box, ", so large that a bin takes more than ",
                             kMaxSamples, " samples per axis");
    default:
      return absl::OkStatus();
  }
}

#if defined(MRCNN_WITH_CUDA)
// RoIs placed on the device, in scratch memory that lives as long as `keep`.
absl::Status place_on_device(tf::OpKernelContext* c, const Params& p, bool validate, const tf::Tensor& boxes,
                           const tf::Tensor& index, tf::Tensor* keep, Roi** rois) {
  const int64_t bytes = static_cast<int64_t>(sizeof(Roi)) * p.num_rois + 256;
  TF_RETURN_IF_ERROR(c->allocate_temp(tf::DT_UINT8, tf::TensorShape({bytes}), keep));
  uint8_t* memory = keep->flat<uint8_t>().data();
  *rois = reinterpret_cast<Roi*>(memory + 256);
  FaultAt at = {};
  TF_RETURN_IF_ERROR(cuda_status(cuda::place(p, boxes.flat<float>().data(), index.flat<int32_t>().data(), *rois,
                                             reinterpret_cast<int*>(memory), validate ? &at : nullptr, stream_of(c))));
  return explain(p, at);
}
#endif

// float32 maps to sum into, and their way back to T.
template <typename T>
absl::Status sum_map(tf::OpKernelContext* c, tf::Tensor* output, tf::Tensor* scratch, float** sum) {
  if (std::is_same<T, float>::value) {
    *sum = reinterpret_cast<float*>(data<T>(output));
    return absl::OkStatus();
  }
  TF_RETURN_IF_ERROR(c->allocate_temp(tf::DT_FLOAT, output->shape(), scratch));
  *sum = scratch->flat<float>().data();
  return absl::OkStatus();
}

// --- RoIAlign ---

template <typename Device, typename T>
class RoiAlignOp : public tf::OpKernel {
 public:
  explicit RoiAlignOp(tf::OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, read_attributes(c, &attributes_, &validate_));
  }

  void Compute(tf::OpKernelContext* c) override {
    Params p = attributes_;
    const tf::Tensor &boxes = c->input(p.num_levels), &index = c->input(p.num_levels + 1);
    std::vector<const typename Number<T>::type*> features;
    for (int level = 0; level < p.num_levels; ++level) {
      OP_REQUIRES_OK(c, take_level(c->input(level).shape(), level, &p));
      features.push_back(data<T>(c->input(level)));
    }
    OP_REQUIRES_OK(c, take_rois(boxes, index, &p));
    tf::Tensor* pooled;
    OP_REQUIRES_OK(c, c->allocate_output(0, tf::TensorShape({p.num_rois, p.bins_y, p.bins_x, p.channels}), &pooled));
    if constexpr (std::is_same<Device, CPU>::value) {
      if (validate_) {
        OP_REQUIRES_OK(c, explain(p, cpu::check(p, boxes.flat<float>().data(), index.flat<int32_t>().data())));
      }
      if (pooled->NumElements() == 0) return;
      int num_threads;
      cpu::forward(p, features.data(), boxes.flat<float>().data(), index.flat<int32_t>().data(), data<T>(pooled),
                   thread_pool(c, &num_threads));
    } else {
#if defined(MRCNN_WITH_CUDA)
      if (p.num_rois == 0) return;
      tf::Tensor keep;
      Roi* rois;
      OP_REQUIRES_OK(c, place_on_device(c, p, validate_, boxes, index, &keep, &rois));
      if (pooled->NumElements() == 0) return;
      OP_REQUIRES_OK(c, cuda_status(cuda::forward(p, features.data(), rois, data<T>(pooled), stream_of(c))));
#endif
    }
  }

 private:
  Params attributes_;
  bool validate_;
};

template <typename Device, typename T>
class RoiAlignGradOp : public tf::OpKernel {
 public:
  explicit RoiAlignGradOp(tf::OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, read_attributes(c, &attributes_, &validate_));
  }

  void Compute(tf::OpKernelContext* c) override {
    Params p = attributes_;
    const tf::Tensor &upstream = c->input(0), &boxes = c->input(1), &index = c->input(2);
    using N = typename Number<T>::type;
    std::vector<N*> gradient(p.num_levels);
    std::vector<float*> sum(p.num_levels);
    std::vector<tf::Tensor*> output(p.num_levels);
    std::vector<tf::Tensor> scratch(p.num_levels);
    bool deterministic = false;
    if constexpr (std::is_same<Device, GPU>::value) deterministic = tf::OpDeterminismRequired();
    for (int level = 0; level < p.num_levels; ++level) {
      tf::TensorShape shape;
      const tf::Tensor& dims = c->input(3 + level);
      OP_REQUIRES(c, dims.dims() == 1,
                  invalid("shape of level ", level, ": expected [4], got ", dims.shape().DebugString()));
      OP_REQUIRES_OK(c, tf::TensorShapeUtils::MakeShape(dims.vec<int32_t>(), &shape));
      OP_REQUIRES_OK(c, take_level(shape, level, &p));
      OP_REQUIRES_OK(c, c->allocate_output(level, shape, &output[level]));
      gradient[level] = data<T>(output[level]);
      if (std::is_same<Device, GPU>::value && !deterministic) {
        OP_REQUIRES_OK(c, sum_map<T>(c, output[level], &scratch[level], &sum[level]));
      }
    }
    OP_REQUIRES_OK(c, take_rois(boxes, index, &p));
    const tf::TensorShape expected({p.num_rois, p.bins_y, p.bins_x, p.channels});
    OP_REQUIRES(c, upstream.shape() == expected,
                invalid("gradient: expected ", expected.DebugString(), ", got ", upstream.shape().DebugString()));
    if constexpr (std::is_same<Device, CPU>::value) {
      if (validate_) {
        OP_REQUIRES_OK(c, explain(p, cpu::check(p, boxes.flat<float>().data(), index.flat<int32_t>().data())));
      }
      int num_threads;
      cpu::backward(p, data<T>(upstream), boxes.flat<float>().data(), index.flat<int32_t>().data(), gradient.data(),
                    thread_pool(c, &num_threads));
    } else {
#if defined(MRCNN_WITH_CUDA)
      tf::Tensor keep;
      Roi* rois;
      void* stream = stream_of(c);
      OP_REQUIRES_OK(c, place_on_device(c, p, validate_, boxes, index, &keep, &rois));
      if (deterministic) {
        OP_REQUIRES_OK(
            c, cuda_status(cuda::backward_deterministic(p, data<T>(upstream), rois, gradient.data(), stream)));
        return;
      }
      OP_REQUIRES_OK(c, cuda_status(cuda::backward(p, data<T>(upstream), rois, sum.data(), stream)));
      if (!std::is_same<T, float>::value) {
        for (int level = 0; level < p.num_levels; ++level) {
          OP_REQUIRES_OK(c, cuda_status(cuda::convert<N>(sum[level], gradient[level], output[level]->NumElements(),
                                                         stream)));
        }
      }
#endif
    }
  }

 private:
  Params attributes_;
  bool validate_;
};

// --- RoIPool ---

template <typename Device, typename T>
class RoiPoolOp : public tf::OpKernel {
 public:
  explicit RoiPoolOp(tf::OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, read_attributes(c, &attributes_, &validate_));
  }

  void Compute(tf::OpKernelContext* c) override {
    Params p = attributes_;
    const tf::Tensor &features = c->input(0), &boxes = c->input(1), &index = c->input(2);
    OP_REQUIRES_OK(c, take_level(features.shape(), 0, &p));
    OP_REQUIRES_OK(c, take_rois(boxes, index, &p));
    const tf::TensorShape shape({p.num_rois, p.bins_y, p.bins_x, p.channels});
    tf::Tensor *pooled, *argmax;
    OP_REQUIRES_OK(c, c->allocate_output(0, shape, &pooled));
    OP_REQUIRES_OK(c, c->allocate_output(1, shape, &argmax));
    const float* box = boxes.flat<float>().data();
    const int* image = index.flat<int32_t>().data();
    if constexpr (std::is_same<Device, CPU>::value) {
      if (validate_) OP_REQUIRES_OK(c, explain(p, cpu::check(p, box, image)));
      if (pooled->NumElements() == 0) return;
      int num_threads;
      cpu::pool_forward(p, data<T>(features), box, image, data<T>(pooled), argmax->flat<int32_t>().data(),
                        thread_pool(c, &num_threads));
    } else {
#if defined(MRCNN_WITH_CUDA)
      if (p.num_rois == 0) return;
      if (validate_) {
        tf::Tensor keep;
        Roi* rois;
        OP_REQUIRES_OK(c, place_on_device(c, p, true, boxes, index, &keep, &rois));
      }
      if (pooled->NumElements() == 0) return;
      OP_REQUIRES_OK(c, cuda_status(cuda::pool_forward(p, data<T>(features), box, image, data<T>(pooled),
                                                       argmax->flat<int32_t>().data(), stream_of(c))));
#endif
    }
  }

 private:
  Params attributes_;
  bool validate_;
};

template <typename Device, typename T>
class RoiPoolGradOp : public tf::OpKernel {
 public:
  explicit RoiPoolGradOp(tf::OpKernelConstruction* c) : OpKernel(c) {}

  void Compute(tf::OpKernelContext* c) override {
    Params p = {};
    p.num_levels = 1;
    const tf::Tensor &upstream = c->input(0), &argmax = c->input(1), &index = c->input(2), &dims = c->input(3);
    using N = typename Number<T>::type;
    OP_REQUIRES(c, upstream.dims() == 4,
                invalid("gradient: expected four dimensions, got ", upstream.shape().DebugString()));
    OP_REQUIRES(c, argmax.shape() == upstream.shape(),
                invalid("argmax: expected ", upstream.shape().DebugString(), " like the gradient, got ",
                                argmax.shape().DebugString()));
    OP_REQUIRES(c, index.dims() == 1 && index.dim_size(0) == upstream.dim_size(0),
                invalid("box_index: expected [", upstream.dim_size(0), "], got ", index.shape().DebugString()));
    OP_REQUIRES(c, dims.dims() == 1, invalid("shape: expected [4], got ", dims.shape().DebugString()));
    tf::TensorShape shape;
    OP_REQUIRES_OK(c, tf::TensorShapeUtils::MakeShape(dims.vec<int32_t>(), &shape));
    OP_REQUIRES_OK(c, take_level(shape, 0, &p));
    OP_REQUIRES(c, upstream.dim_size(3) == p.channels,
                invalid("gradient: expected ", p.channels, " channels, got ", upstream.shape().DebugString()));
    p.num_rois = static_cast<int>(upstream.dim_size(0));
    p.bins_y = static_cast<int>(upstream.dim_size(1));
    p.bins_x = static_cast<int>(upstream.dim_size(2));
    tf::Tensor *output, scratch;
    float* sum;
    OP_REQUIRES_OK(c, c->allocate_output(0, shape, &output));
    OP_REQUIRES_OK(c, sum_map<T>(c, output, &scratch, &sum));
    const int *where = argmax.flat<int32_t>().data(), *image = index.flat<int32_t>().data();
    if constexpr (std::is_same<Device, CPU>::value) {
      const int cells = p.levels[0].height * p.levels[0].width;
      for (int r = 0; r < p.num_rois; ++r) {
        OP_REQUIRES(c, image[r] >= -1 && image[r] < p.batch,
                    invalid("RoI ", r, ": box_index is ", image[r], ", expected -1 (no image) or 0 to ",
                                    p.batch - 1));
      }
      for (int64_t i = 0; i < argmax.NumElements(); ++i) {
        OP_REQUIRES(c, where[i] >= -1 && where[i] < cells,
                    invalid("argmax: element ", i, " is ", where[i], ", expected -1 to ", cells - 1));
      }
      int num_threads;
      const cpu::ParallelFor parallel_for = thread_pool(c, &num_threads);
      cpu::pool_backward(p, data<T>(upstream), where, image, sum, num_threads, parallel_for);
      if (!std::is_same<T, float>::value) {
        cpu::convert<N>(sum, data<T>(output), output->NumElements(), parallel_for);
      }
    } else {
#if defined(MRCNN_WITH_CUDA)
      void* stream = stream_of(c);
      OP_REQUIRES_OK(c, cuda_status(cuda::pool_backward(p, data<T>(upstream), where, image,
                                                        tf::OpDeterminismRequired(), sum, stream)));
      if (!std::is_same<T, float>::value) {
        OP_REQUIRES_OK(c, cuda_status(cuda::convert<N>(sum, data<T>(output), output->NumElements(), stream)));
      }
#endif
    }
  }
};

#define MRCNN_KERNEL(NAME, DEVICE, DEVICE_NAME, CLASS, T) \
  REGISTER_KERNEL_BUILDER(Name(NAME).Device(DEVICE_NAME).TypeConstraint<T>("T"), CLASS<DEVICE, T>)

#define MRCNN_CPU_KERNELS(T)                                                                  \
  MRCNN_KERNEL("MrcnnRoiAlign", CPU, tf::DEVICE_CPU, RoiAlignOp, T);                          \
  MRCNN_KERNEL("MrcnnMultilevelRoiAlign", CPU, tf::DEVICE_CPU, RoiAlignOp, T);                \
  MRCNN_KERNEL("MrcnnRoiAlignGrad", CPU, tf::DEVICE_CPU, RoiAlignGradOp, T);                  \
  MRCNN_KERNEL("MrcnnMultilevelRoiAlignGrad", CPU, tf::DEVICE_CPU, RoiAlignGradOp, T);        \
  MRCNN_KERNEL("MrcnnRoiPool", CPU, tf::DEVICE_CPU, RoiPoolOp, T);                            \
  MRCNN_KERNEL("MrcnnRoiPoolGrad", CPU, tf::DEVICE_CPU, RoiPoolGradOp, T);
MRCNN_CPU_KERNELS(float)
MRCNN_CPU_KERNELS(Eigen::half)
MRCNN_CPU_KERNELS(Eigen::bfloat16)

#if defined(MRCNN_WITH_CUDA)
#define MRCNN_GPU_KERNEL(NAME, CLASS, HOST, T) \
  REGISTER_KERNEL_BUILDER(Name(NAME).Device(tf::DEVICE_GPU) HOST.TypeConstraint<T>("T"), CLASS<GPU, T>)
#define MRCNN_GPU_KERNELS(T)                                                                            \
  MRCNN_GPU_KERNEL("MrcnnRoiAlign", RoiAlignOp, , T);                                                   \
  MRCNN_GPU_KERNEL("MrcnnMultilevelRoiAlign", RoiAlignOp, , T);                                         \
  MRCNN_GPU_KERNEL("MrcnnRoiAlignGrad", RoiAlignGradOp, .HostMemory("shape"), T);                       \
  MRCNN_GPU_KERNEL("MrcnnMultilevelRoiAlignGrad", RoiAlignGradOp, .HostMemory("shapes"), T);            \
  MRCNN_GPU_KERNEL("MrcnnRoiPool", RoiPoolOp, , T);                                                     \
  MRCNN_GPU_KERNEL("MrcnnRoiPoolGrad", RoiPoolGradOp, .HostMemory("shape"), T);
MRCNN_GPU_KERNELS(float)
MRCNN_GPU_KERNELS(Eigen::half)
MRCNN_GPU_KERNELS(Eigen::bfloat16)
#endif

}  // namespace
}  // namespace mrcnn
