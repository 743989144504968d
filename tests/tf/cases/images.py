"""Images: ``tf.image``."""

from __future__ import annotations

import tensorflow as tf
from tests.tf.cases import Table, f, fixed, i

m = tf.image
_X = f(2, 6, 8, 3, low=0)
_R = tf.raw_ops

TABLE: Table = {
    **{
        f"resize_{method}": (lambda x, k=method: m.resize(x, [9, 5], k), _X)
        for method in ("bilinear", "nearest", "bicubic", "area", "lanczos3", "gaussian")
    },
    "resize_larger": (lambda x: m.resize(x, [12, 16]), _X),
    "resize_antialias": (lambda x: m.resize(x, [3, 4], antialias=True), _X),
    "resize_corners": (lambda x: tf.compat.v1.image.resize_bilinear(x, [9, 5], align_corners=True),
                       _X),
    "resize_pad": (lambda x: m.resize_with_pad(x, 8, 8), _X),
    "resize_crop_or_pad": (lambda x: m.resize_with_crop_or_pad(x, 8, 4), _X),
    "resize_one": (lambda x: m.resize(x, [9, 5]), fixed(f(6, 8, 3))),
    "resize_to_tensor": (lambda x, n: m.resize(x, n), _X, fixed([9, 5])),
    "flip": (lambda x: (m.flip_left_right(x), m.flip_up_down(x)), _X),
    "rot90": (lambda x: (m.rot90(x), m.rot90(x, 2)), _X),
    "transpose": (m.transpose, _X),
    "gray": (m.rgb_to_grayscale, _X),
    "gray_to_rgb": (lambda x: m.grayscale_to_rgb(x[..., :1]), _X),
    "hsv": (m.rgb_to_hsv, _X),
    "hsv_to_rgb": (m.hsv_to_rgb, _X),
    "yiq": (lambda x: (m.rgb_to_yiq(x), m.rgb_to_yuv(x), m.yuv_to_rgb(x)), _X),
    "adjust_contrast": (lambda x: m.adjust_contrast(x, 2.0), _X),
    "adjust_contrast_tensor": (m.adjust_contrast, _X, f()),
    "adjust_brightness": (lambda x: m.adjust_brightness(x, 0.2), _X),
    "adjust_hue": (lambda x: m.adjust_hue(x, 0.2), _X),
    "adjust_saturation": (lambda x: m.adjust_saturation(x, 0.5), _X),
    "adjust_gamma": (lambda x: m.adjust_gamma(x, 2.0), _X),
    "standardize": (m.per_image_standardization, _X),
    "central_crop": (lambda x: m.central_crop(x, 0.5), _X),
    "crop_to_box": (lambda x: m.crop_to_bounding_box(x, 1, 2, 3, 4), _X),
    "pad_to_box": (lambda x: m.pad_to_bounding_box(x, 1, 2, 9, 12), _X),
    "crop_and_resize": (lambda x, q, k: m.crop_and_resize(x, q, k, [4, 4]), _X,
                        f(3, 4, low=0), i(3, high=2)),
    "crop_and_resize_nearest": (lambda x, q, k: m.crop_and_resize(x, q, k, [4, 4], "nearest"), _X,
                                f(3, 4, low=0), i(3, high=2)),
    "nms": (lambda q, s: m.non_max_suppression(q, s, 5), f(9, 4), f(9)),
    "nms_padded": (lambda q, s: m.non_max_suppression_padded(q, s, 5, pad_to_max_output_size=True),
                   fixed(f(9, 4)), fixed(f(9))),
    "nms_combined": (lambda q, s: m.combined_non_max_suppression(q, s, 4, 5),
                     fixed(f(2, 9, 1, 4, low=0)), fixed(f(2, 9, 3))),
    "sobel": (m.sobel_edges, _X),
    "gradients": (m.image_gradients, _X),
    "total_variation": (m.total_variation, _X),
    "psnr": (lambda x, y: m.psnr(x, y, 1.0), _X, _X[::-1]),
    "ssim": (lambda x, y: m.ssim(x, y, 1.0, filter_size=5), _X, _X[::-1]),
    "convert": (lambda x: (m.convert_image_dtype(x, tf.uint8), m.convert_image_dtype(x, tf.int16)),
                _X),
    "convert_from": (lambda x: m.convert_image_dtype(x, tf.float32),
                     i(2, 4, 4, 3, high=255, dtype="uint8")),
    "extract_glimpse": (lambda x: m.extract_glimpse(x, [3, 3], tf.zeros([2, 2])), fixed(_X)),
    "projective": (lambda x, t: _R.ImageProjectiveTransformV3(
        images=x, transforms=t, output_shape=[6, 8], fill_value=0.0, interpolation="BILINEAR",
        fill_mode="CONSTANT"), _X, fixed(f(1, 8, low=0.1))),
    "scale_and_translate": (lambda x: _R.ScaleAndTranslate(
        images=x, size=[9, 5], scale=[1.5, 0.625], translation=[0.0, 0.0]), _X),
    "draw_boxes": (lambda x, q: m.draw_bounding_boxes(x, q, [[1.0, 0, 0]]), _X,
                   f(2, 1, 4, low=0)),
    "blur": (lambda x: tf.nn.depthwise_conv2d(x, tf.ones([3, 3, 3, 1]) / 9, [1] * 4, "SAME"), _X),
}  # fmt: skip
