// TensorFlow's side of deformable convolution: what its samples, the columns, are made of, and their gradient. The
// product with the kernel is TensorFlow's own matrix product.
#include <type_traits>

#include "../common/op_support.h"
#include "deformable_kernels.h"

namespace mrcnn {
namespace deformable {
namespace {

absl::Status columns_shape(InferenceContext* c) {
  int groups, kernel_height, kernel_width;
  TF_RETURN_IF_ERROR(c->GetAttr("groups", &groups));
  TF_RETURN_IF_ERROR(c->GetAttr("kernel_height", &kernel_height));
  TF_RETURN_IF_ERROR(c->GetAttr("kernel_width", &kernel_width));
  ShapeHandle features, offsets;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &features));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &offsets));
  DimensionHandle cells = c->Dim(offsets, 0), width;
  for (int axis = 1; axis < 3; ++axis) TF_RETURN_IF_ERROR(c->Multiply(cells, c->Dim(offsets, axis), &cells));
  TF_RETURN_IF_ERROR(c->Multiply(c->Dim(features, 3), kernel_height * kernel_width, &width));
  TF_RETURN_IF_ERROR(c->Divide(width, groups, true, &width));
  c->set_output(0, c->MakeShape({c->MakeDim(groups), cells, width}));
  return absl::OkStatus();
}

absl::Status gradient_shape(InferenceContext* c) {
  for (int i = 0; i < 3; ++i) c->set_output(i, c->input(i + 1));
  return absl::OkStatus();
}

#define MRCNN_ATTRIBUTES                      \
  Attr("T: {half, bfloat16, float} = DT_FLOAT") \
      .Attr("kernel_height: int >= 1")          \
      .Attr("kernel_width: int >= 1")           \
      .Attr("stride: int >= 1 = 1")             \
      .Attr("dilation: int >= 1 = 1")           \
      .Attr("padding: int >= 0 = 0")            \
      .Attr("groups: int >= 1 = 1")

REGISTER_OP("MrcnnDeformableColumns")
    .Input("features: T")
    .Input("offsets: float")
    .Input("mask: float")
    .Output("columns: T")
    .MRCNN_ATTRIBUTES.SetShapeFn(columns_shape)
    .Doc(R"doc(
What the taps of a deformable convolution read.

features: [batch, height, width, channels].
offsets: [batch, out_height, out_width, offset_groups * kernel_height * kernel_width * 2], (y, x) of a tap side by side.
mask: half as many channels, what samples are multiplied with; [0, 0, 0, 0]: 1.
columns: [groups, batch * out_height * out_width, kernel_height * kernel_width * channels / groups], summed in float32.
)doc");

REGISTER_OP("MrcnnDeformableColumnsGrad")
    .Input("gradient: T")
    .Input("features: T")
    .Input("offsets: float")
    .Input("mask: float")
    .Output("to_features: float")
    .Output("to_offsets: float")
    .Output("to_mask: float")
    .MRCNN_ATTRIBUTES.SetShapeFn(gradient_shape)
    .Doc("Gradients of MrcnnDeformableColumns in its three inputs.");

absl::Status read_attributes(tf::OpKernelConstruction* c, Params* p) {
  *p = Params{};
  TF_RETURN_IF_ERROR(c->GetAttr("kernel_height", &p->kernel_height));
  TF_RETURN_IF_ERROR(c->GetAttr("kernel_width", &p->kernel_width));
  TF_RETURN_IF_ERROR(c->GetAttr("stride", &p->stride));
  TF_RETURN_IF_ERROR(c->GetAttr("dilation", &p->dilation));
  TF_RETURN_IF_ERROR(c->GetAttr("padding", &p->padding));
  TF_RETURN_IF_ERROR(c->GetAttr("groups", &p->groups));
  for (const int value : {p->kernel_height, p->kernel_width, p->stride, p->dilation, p->padding}) {
    if (value > 1 << 10) return invalid("kernel, stride, dilation and padding: expected at most 1024, got ", value);
  }
  return absl::OkStatus();
}

absl::Status take_shapes(const tf::Tensor& features, const tf::Tensor& offsets, const tf::Tensor& mask, Params* p) {
  if (features.dims() != 4) {
    return invalid("features: expected [batch, height, width, channels], got ", features.shape().DebugString());
  }
  for (int i = 0; i < 4; ++i) {
    if (features.dim_size(i) > 1 << 24) {
      return invalid("features: dimension ", i, " is ", features.dim_size(i), ", expected at most 2^24");
    }
  }
  p->batch = static_cast<int>(features.dim_size(0));
  p->height = static_cast<int>(features.dim_size(1));
  p->width = static_cast<int>(features.dim_size(2));
  p->channels = static_cast<int>(features.dim_size(3));
  const auto out = [p](int side, int kernel) {
    return side == 0 ? 0 : (side + 2 * p->padding - p->dilation * (kernel - 1) - 1) / p->stride + 1;
  };
  p->out_height = out(p->height, p->kernel_height);
  p->out_width = out(p->width, p->kernel_width);
  const int64_t per_group = 2 * taps_of(*p);
  if (offsets.dims() != 4 || offsets.dim_size(0) != p->batch || offsets.dim_size(1) != p->out_height ||
      offsets.dim_size(2) != p->out_width || offsets.dim_size(3) % per_group != 0 || offsets.dim_size(3) == 0) {
    return invalid("offsets: expected [", p->batch, ", ", p->out_height, ", ", p->out_width, ", a multiple of ",
                   per_group, "], got ", offsets.shape().DebugString());
  }
  p->offset_groups = static_cast<int>(offsets.dim_size(3) / per_group);
  p->modulated = mask.dims() != 4 || mask.dim_size(3) > 0;
  if (p->modulated) {
    tf::TensorShape expected = offsets.shape();
    expected.set_dim(3, offsets.dim_size(3) / 2);
    if (mask.shape() != expected) {
      return invalid("mask: expected ", expected.DebugString(), " or nothing, got ", mask.shape().DebugString());
    }
  }
  if (p->channels % p->offset_groups != 0 || p->channels % p->groups != 0) {
    return invalid("features: expected channels that ", p->offset_groups, " groups of offsets and ", p->groups,
                   " groups divide, got ", p->channels);
  }
  return absl::OkStatus();
}

tf::TensorShape shape_of_columns(const Params& p) {
  return tf::TensorShape({p.groups, out_cells(p), static_cast<int64_t>(taps_of(p)) * p.channels / p.groups});
}

template <typename Device, typename T>
class ColumnsOp : public tf::OpKernel {
 public:
  explicit ColumnsOp(tf::OpKernelConstruction* c) : OpKernel(c) { OP_REQUIRES_OK(c, read_attributes(c, &attributes_)); }

  void Compute(tf::OpKernelContext* c) override {
    Params p = attributes_;
    const tf::Tensor &features = c->input(0), &offsets = c->input(1), &mask = c->input(2);
    OP_REQUIRES_OK(c, take_shapes(features, offsets, mask, &p));
    tf::Tensor* result;
    OP_REQUIRES_OK(c, c->allocate_output(0, shape_of_columns(p), &result));
    if (result->NumElements() == 0) return;
    const float *moved = offsets.flat<float>().data(), *weights = mask.flat<float>().data();
    if constexpr (std::is_same<Device, CPU>::value) {
      int num_threads;
      cpu::columns(p, data<T>(features), moved, weights, data<T>(result), thread_pool(c, &num_threads));
    } else {
#if defined(MRCNN_WITH_CUDA)
      OP_REQUIRES_OK(c,
                     cuda_status(cuda::columns(p, data<T>(features), moved, weights, data<T>(result), stream_of(c))));
#endif
    }
  }

 private:
  Params attributes_;
};

template <typename Device, typename T>
class ColumnsGradOp : public tf::OpKernel {
 public:
  explicit ColumnsGradOp(tf::OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, read_attributes(c, &attributes_));
  }

  void Compute(tf::OpKernelContext* c) override {
    Params p = attributes_;
    const tf::Tensor &upstream = c->input(0), &features = c->input(1), &offsets = c->input(2), &mask = c->input(3);
    OP_REQUIRES_OK(c, take_shapes(features, offsets, mask, &p));
    OP_REQUIRES(c, upstream.shape() == shape_of_columns(p),
                invalid("gradient: expected ", shape_of_columns(p).DebugString(), ", got ",
                        upstream.shape().DebugString()));
    tf::Tensor* result[3];
    for (int i = 0; i < 3; ++i) OP_REQUIRES_OK(c, c->allocate_output(i, c->input(i + 1).shape(), &result[i]));
    if (features.NumElements() == 0) return;
    const float *moved = offsets.flat<float>().data(), *weights = mask.flat<float>().data();
    float* to[3];
    for (int i = 0; i < 3; ++i) to[i] = result[i]->flat<float>().data();
    if constexpr (std::is_same<Device, CPU>::value) {
      int num_threads;
      const mrcnn::cpu::ParallelFor parallel_for = thread_pool(c, &num_threads);
      cpu::backward(p, data<T>(upstream), data<T>(features), moved, weights, to[0], to[1], to[2], num_threads,
                    parallel_for);
    } else {
#if defined(MRCNN_WITH_CUDA)
      OP_REQUIRES_OK(c, cuda_status(cuda::backward(p, data<T>(upstream), data<T>(features), moved, weights, to[0],
                                                   to[1], to[2], stream_of(c))));
#endif
    }
  }

 private:
  Params attributes_;
};

#define MRCNN_KERNELS(DEVICE, DEVICE_NAME, T)                                                                         \
  REGISTER_KERNEL_BUILDER(Name("MrcnnDeformableColumns").Device(DEVICE_NAME).TypeConstraint<T>("T"),                  \
                          ColumnsOp<DEVICE, T>);                                                                      \
  REGISTER_KERNEL_BUILDER(Name("MrcnnDeformableColumnsGrad").Device(DEVICE_NAME).TypeConstraint<T>("T"),              \
                          ColumnsGradOp<DEVICE, T>);
MRCNN_KERNELS(CPU, tf::DEVICE_CPU, float)
MRCNN_KERNELS(CPU, tf::DEVICE_CPU, Eigen::half)
MRCNN_KERNELS(CPU, tf::DEVICE_CPU, Eigen::bfloat16)
#if defined(MRCNN_WITH_CUDA)
MRCNN_KERNELS(GPU, tf::DEVICE_GPU, float)
MRCNN_KERNELS(GPU, tf::DEVICE_GPU, Eigen::half)
MRCNN_KERNELS(GPU, tf::DEVICE_GPU, Eigen::bfloat16)
#endif

}  // namespace
}  // namespace deformable
}  // namespace mrcnn
