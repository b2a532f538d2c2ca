// TensorFlow's side of RoIAlign of rotated boxes: what the ops take and give, their shapes and refusals.
#include <type_traits>

#include "../common/op_support.h"
#include "rotated_kernels.h"

namespace mrcnn {
namespace rotated {
namespace {

absl::Status pooled_shape(InferenceContext* c) {
  int bins_y, bins_x;
  TF_RETURN_IF_ERROR(c->GetAttr("crop_height", &bins_y));
  TF_RETURN_IF_ERROR(c->GetAttr("crop_width", &bins_x));
  ShapeHandle features, boxes;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &features));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &boxes));
  c->set_output(0, c->MakeShape({c->Dim(boxes, 0), bins_y, bins_x, c->Dim(features, 3)}));
  return absl::OkStatus();
}

absl::Status gradient_shape(InferenceContext* c) {
  ShapeHandle features;
  TF_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(3, &features));
  c->set_output(0, features);
  return absl::OkStatus();
}

#define MRCNN_ATTRIBUTES                        \
  Attr("T: {half, bfloat16, float} = DT_FLOAT") \
      .Attr("crop_height: int >= 1")            \
      .Attr("crop_width: int >= 1")             \
      .Attr("stride: float")                    \
      .Attr("sampling_ratio: int >= 0 = 0")

REGISTER_OP("MrcnnRotatedRoiAlign")
    .Input("features: T")
    .Input("boxes: float")
    .Input("box_index: int32")
    .Output("pooled: T")
    .MRCNN_ATTRIBUTES.SetShapeFn(pooled_shape)
    .Doc(R"doc(
RoIAlign of rotated boxes on one feature map, pixel centers at one half.

features: [batch, height, width, channels].
boxes: [num_rois, 5], (cy, cx, h, w, angle) in pixels and degrees; a cell spans `stride` pixels.
box_index: [num_rois], the image each RoI lies in; any other number, and a box that is not finite, gives zeros.
pooled: [num_rois, crop_height, crop_width, channels], summed in float32.
sampling_ratio: samples per bin and axis; 0: ceil(RoI side / bins), at most 64.
)doc");

REGISTER_OP("MrcnnRotatedRoiAlignGrad")
    .Input("gradient: T")
    .Input("boxes: float")
    .Input("box_index: int32")
    .Input("shape: int32")
    .Output("features: float")
    .MRCNN_ATTRIBUTES.SetShapeFn(gradient_shape)
    .Doc("Gradient of MrcnnRotatedRoiAlign in the features, whose shape is given, in float32.");

absl::Status read_attributes(tf::OpKernelConstruction* c, Params* p) {
  *p = Params{};
  TF_RETURN_IF_ERROR(c->GetAttr("crop_height", &p->bins_y));
  TF_RETURN_IF_ERROR(c->GetAttr("crop_width", &p->bins_x));
  TF_RETURN_IF_ERROR(c->GetAttr("stride", &p->stride));
  TF_RETURN_IF_ERROR(c->GetAttr("sampling_ratio", &p->sampling_ratio));
  if (static_cast<int64_t>(p->bins_y) * p->bins_x > 1 << 20) {
    return invalid("crop_height * crop_width: expected at most 1048576, got ", p->bins_y, " * ", p->bins_x);
  }
  if (!(p->stride > 0.0f)) return invalid("stride: expected more than 0, got ", p->stride);
  if (p->sampling_ratio > 1 << 10) return invalid("sampling_ratio: expected at most 1024, got ", p->sampling_ratio);
  return absl::OkStatus();
}

absl::Status take_shapes(const tf::TensorShape& features, const tf::Tensor& boxes, const tf::Tensor& index, Params* p) {
  if (features.dims() != 4) {
    return invalid("features: expected [batch, height, width, channels], got ", features.DebugString());
  }
  for (int i = 0; i < 4; ++i) {
    if (features.dim_size(i) > 1 << 30) return invalid("features: too large, ", features.DebugString());
  }
  if (features.dim_size(1) * features.dim_size(2) >= 1LL << 31) {
    return invalid("features: expected fewer than 2^31 cells, got ", features.DebugString());
  }
  if (boxes.dims() != 2 || boxes.dim_size(1) != 5 || boxes.dim_size(0) > 1 << 29) {
    return invalid("boxes: expected [num_rois, 5], got ", boxes.shape().DebugString());
  }
  if (index.dims() != 1 || index.dim_size(0) != boxes.dim_size(0)) {
    return invalid("box_index: expected [", boxes.dim_size(0), "], one per box, got ", index.shape().DebugString());
  }
  p->batch = static_cast<int>(features.dim_size(0));
  p->height = static_cast<int>(features.dim_size(1));
  p->width = static_cast<int>(features.dim_size(2));
  p->channels = static_cast<int>(features.dim_size(3));
  p->num_rois = static_cast<int>(boxes.dim_size(0));
  return absl::OkStatus();
}

template <typename Device, typename T>
class AlignOp : public tf::OpKernel {
 public:
  explicit AlignOp(tf::OpKernelConstruction* c) : OpKernel(c) { OP_REQUIRES_OK(c, read_attributes(c, &attributes_)); }

  void Compute(tf::OpKernelContext* c) override {
    Params p = attributes_;
    const tf::Tensor &features = c->input(0), &boxes = c->input(1), &index = c->input(2);
    OP_REQUIRES_OK(c, take_shapes(features.shape(), boxes, index, &p));
    tf::Tensor* pooled;
    OP_REQUIRES_OK(c, c->allocate_output(0, tf::TensorShape({p.num_rois, p.bins_y, p.bins_x, p.channels}), &pooled));
    if (pooled->NumElements() == 0) return;
    const float* box = boxes.flat<float>().data();
    const int* image = index.flat<int32_t>().data();
    if constexpr (std::is_same<Device, CPU>::value) {
      int num_threads;
      cpu::forward(p, data<T>(features), box, image, data<T>(pooled), thread_pool(c, &num_threads));
    } else {
#if defined(MRCNN_WITH_CUDA)
      OP_REQUIRES_OK(c, cuda_status(cuda::forward(p, data<T>(features), box, image, data<T>(pooled), stream_of(c))));
#endif
    }
  }

 private:
  Params attributes_;
};

template <typename Device, typename T>
class AlignGradOp : public tf::OpKernel {
 public:
  explicit AlignGradOp(tf::OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, read_attributes(c, &attributes_));
  }

  void Compute(tf::OpKernelContext* c) override {
    Params p = attributes_;
    const tf::Tensor &upstream = c->input(0), &boxes = c->input(1), &index = c->input(2), &dims = c->input(3);
    tf::TensorShape shape;
    OP_REQUIRES(c, dims.dims() == 1, invalid("shape: expected [4], got ", dims.shape().DebugString()));
    OP_REQUIRES_OK(c, tf::TensorShapeUtils::MakeShape(dims.vec<int32_t>(), &shape));
    OP_REQUIRES_OK(c, take_shapes(shape, boxes, index, &p));
    const tf::TensorShape expected({p.num_rois, p.bins_y, p.bins_x, p.channels});
    OP_REQUIRES(c, upstream.shape() == expected,
                invalid("gradient: expected ", expected.DebugString(), ", got ", upstream.shape().DebugString()));
    tf::Tensor* result;
    OP_REQUIRES_OK(c, c->allocate_output(0, shape, &result));
    if (result->NumElements() == 0) return;
    const float* box = boxes.flat<float>().data();
    const int* image = index.flat<int32_t>().data();
    float* gradient = result->flat<float>().data();
    if constexpr (std::is_same<Device, CPU>::value) {
      int num_threads;
      const mrcnn::cpu::ParallelFor parallel_for = thread_pool(c, &num_threads);
      cpu::backward(p, data<T>(upstream), box, image, gradient, num_threads, parallel_for);
    } else {
#if defined(MRCNN_WITH_CUDA)
      OP_REQUIRES_OK(c, cuda_status(cuda::backward(p, data<T>(upstream), box, image, gradient, stream_of(c))));
#endif
    }
  }

 private:
  Params attributes_;
};

#define MRCNN_KERNELS(DEVICE, DEVICE_NAME, T)                                                                     \
  REGISTER_KERNEL_BUILDER(Name("MrcnnRotatedRoiAlign").Device(DEVICE_NAME).TypeConstraint<T>("T"),                \
                          AlignOp<DEVICE, T>);                                                                    \
  REGISTER_KERNEL_BUILDER(                                                                                        \
      Name("MrcnnRotatedRoiAlignGrad").Device(DEVICE_NAME).HostMemory("shape").TypeConstraint<T>("T"),            \
      AlignGradOp<DEVICE, T>);
MRCNN_KERNELS(CPU, tf::DEVICE_CPU, float)
MRCNN_KERNELS(CPU, tf::DEVICE_CPU, Eigen::half)
MRCNN_KERNELS(CPU, tf::DEVICE_CPU, Eigen::bfloat16)
#if defined(MRCNN_WITH_CUDA)
MRCNN_KERNELS(GPU, tf::DEVICE_GPU, float)
MRCNN_KERNELS(GPU, tf::DEVICE_GPU, Eigen::half)
MRCNN_KERNELS(GPU, tf::DEVICE_GPU, Eigen::bfloat16)
#endif

}  // namespace
}  // namespace rotated
}  // namespace mrcnn
