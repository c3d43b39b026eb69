"""The tasks of the training benchmarks: data in folds, networks, and how long they train.

* digits: the 1,797 digits of scikit-learn, 5 shuffled folds, the network of `keras_hwcompress.digits`.
* fsdd: Free Spoken Digit Dataset (3,000 clips, 8 kHz), folds of takes 0-9, 10-19, ...; log-mel features, 49 frames of
  10 bands, DS-CNN.
* fsdd_gru: the same clips and folds, 49 frames of 40 bands, GRU of 32 units.
* resnet8: CIFAR-10 as JPEG copies (quality about 75, so a few points below figures on the original), ResNet-8 from base
  checkpoints, one per seed.

FSDD and CIFAR-10 are read from `fsdd.npz` and `cifar10.npz` in the folder given with --data; the layout is that of
keras.datasets (x_train, y_train, x_test, y_test).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_hwcompress import digits
from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.training.schedules import Ramp, Schedule

# Log-mel features: frames of 256 samples (32 ms at 8 kHz) every 160 (20 ms), Hann window, power spectrum, triangular
# filters between 20 and 4,000 Hz on the scale 2595 log10(1 + f/700), log(energy + 1e-6), standardised per band with the
# mean and deviation of the training clips. Clips are padded or cut to one second: 49 frames.
RATE, FRAME, HOP = 8000, 256, 160

# Distillation (G. Hinton et al. 2015): temperature, and the share of the teacher in the loss.
TEMPERATURE, SOFT = 2.0, 0.7


@dataclass(frozen=True, slots=True)
class Fold:
    """Inputs float32, labels integers: to train on, to decide with (never tested on), to test on.

    teacher: None, or the logits (2, images, classes) to learn from, of the images to train on as they are and mirrored.
    """

    x: np.ndarray
    y: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    teacher: np.ndarray | None = None

    def first(self, count: int) -> Fold:
        """The first samples only, for smoke tests; without a teacher."""
        return Fold(*(part[:count] for part in (self.x, self.y, self.x_val, self.y_val, self.x_test, self.y_test)))

    def taught_by(self, models: Sequence[keras.Model]) -> Fold:
        """The same with the mean logits of these models as teacher."""
        both = (self.x, self.x[:, :, ::-1])
        logits = [[model.predict(images, batch_size=256, verbose=0) for images in both] for model in models]
        return replace(self, teacher=np.mean(logits, axis=0))


@dataclass(frozen=True, slots=True)
class Task:
    """A task. base: the network that the arms of a fold start from. epochs: per arm, the same for every arm. arms: by name.

    prune_epochs, step_epochs, group, tried: how the layer-wise arm divides as many epochs: pruning, then attempts with
    `group` layers each, for the `tried` least significant layers, then finetune_epochs. max_drop: its bound. ramp_end: the
    share of an attempt after which the grid is on. scale, per: of the grids of the constrained and layer-wise arms.
    schedule, masked_decay: of the constrained arms. unconstrained: layers that the uniform baselines (TWN, TTQ-style) and
    the arm constrained-S leave in int8, as is usual for low-bit networks. mirrors: whether every other image is mirrored in
    training. distilled: arms that learn from the answers of the float arms of all folds, too; for a task that mirrors and
    whose folds train on the same data. jit: compile the training step with XLA, which on a CPU makes recurrent layers three
    times faster, but convolutions half as fast and depthwise ones five times slower.
    """

    name: str
    folds: tuple[int, ...]
    load: Callable[[int, Path | None], Fold]
    base: Callable[[Fold, int, "Task", Path | None], keras.Model]
    base_epochs: int
    epochs: int
    prune_epochs: int
    step_epochs: int
    rate: float
    batch: int
    arms: tuple[str, ...]
    unconstrained: tuple[str, ...]
    mirrors: bool = False
    distilled: tuple[str, ...] = ()
    group: int = 1
    tried: int | None = None
    finetune_epochs: int = 0
    max_drop: float = 0.02
    ramp_end: float = 0.25
    scale: str = "learned"
    per: str = "layer"
    schedule: Schedule = Schedule()
    masked_decay: float = 0.0
    jit: bool | str = "auto"


class Mirrored(keras.utils.PyDataset):
    """Batches of images (height, width, channels), each mirrored or not; with `Fold.teacher`, labels are followed by logits.

    No shifts: networks of so few bits underfit already.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, batch: int, seed: int, teacher: np.ndarray | None = None) -> None:
        super().__init__()
        self._x, self._y, self._batch, self._teacher = x, y, batch, teacher
        self._rng = np.random.default_rng(seed)
        self._order = self._rng.permutation(len(x))

    def __len__(self) -> int:
        return -(-len(self._x) // self._batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._order[index * self._batch : (index + 1) * self._batch]
        images = self._x[rows]
        chosen = self._rng.random(len(rows)) < 0.5
        images[chosen] = images[chosen, :, ::-1]
        labels = self._y[rows]
        return images, labels if self._teacher is None else np.column_stack([labels, self._teacher[chosen.astype(int), rows]])

    def on_epoch_end(self) -> None:
        self._order = self._rng.permutation(len(self._x))


def distillation_loss(labels: Any, logits: Any) -> Any:
    """Cross-entropy with the label (first column) and, softened by the temperature, with the teacher's logits (the others)."""
    teacher = ops.softmax(labels[:, 1:] / TEMPERATURE)
    soft = ops.categorical_crossentropy(teacher, logits / TEMPERATURE, from_logits=True)
    hard = ops.sparse_categorical_crossentropy(ops.cast(labels[:, 0], "int32"), logits, from_logits=True)
    return SOFT * TEMPERATURE**2 * soft + (1 - SOFT) * hard


def train(
    task: Task,
    fold: Fold,
    model: keras.Model,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    rate: float | None = None,
) -> keras.Model:
    """Adam with a cosine schedule; compiles and fits in place."""
    steps = epochs * -(-len(fold.x) // task.batch)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(task.rate if rate is None else rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True) if fold.teacher is None else distillation_loss,
        jit_compile=task.jit,
    )
    lines = 2 if task.mirrors else 0  # of progress: epochs of images take most of a minute
    options = {"epochs": epochs, "verbose": lines, "callbacks": list(callbacks)}
    if task.mirrors:
        seed = int(np.random.randint(2**31))  # follows from the seed that the caller has set for Keras
        model.fit(Mirrored(fold.x, fold.y, task.batch, seed, fold.teacher), **options)
    else:
        model.fit(fold.x, fold.y, batch_size=task.batch, **options)
    return model


def accuracy(model: keras.Model, inputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers."""
    return float(np.mean(model.predict(inputs, batch_size=256, verbose=0).argmax(axis=1) == labels))


def _split(x: np.ndarray, y: np.ndarray, is_test: np.ndarray, share: int = 5) -> Fold:
    """One of `share` training samples, drawn with a fixed seed, is for decisions."""
    index = np.random.default_rng(1).permutation(np.flatnonzero(~is_test))
    val, fit = index[: len(index) // share], index[len(index) // share :]
    return Fold(x[fit], y[fit], x[val], y[val], x[is_test], y[is_test])


def _load_digits(fold: int, folder: Path | None) -> Fold:
    data = digits.load_fold(fold)
    x, y = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    return _split(x, y, np.arange(len(y)) >= len(data.y_train))


def _read(folder: Path | None, name: str) -> dict[str, np.ndarray]:
    path = None if folder is None else Path(folder) / name
    if path is None or not path.exists():
        raise HwcmpError(f"{name} is missing: give its folder with --data. Received: --data {folder}")
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in ("x_train", "y_train", "x_test", "y_test")}


def fsdd_takes(train_count: int, test_count: int) -> np.ndarray:
    """The take of every clip: both parts are sorted by digit, speaker and the take's name; takes 0-4 are the test part."""
    names = sorted(str(take) for take in range(50))
    kept = [int(name) for name in names if int(name) >= 5]
    return np.concatenate([np.tile(kept, train_count // len(kept)), np.tile(np.arange(5), test_count // 5)])


def log_mel(waves: np.ndarray, bands: int) -> np.ndarray:
    """int16 waves (clips, 8000) to float32 log-mel energies (clips, 49, bands)."""
    frames = np.lib.stride_tricks.sliding_window_view(waves.astype(np.float32) / 32768, FRAME, axis=1)[:, ::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME).astype(np.float32), axis=2)) ** 2
    return np.log(power.astype(np.float32) @ _filters(bands) + 1e-6).astype(np.float32)


def _filters(bands: int) -> np.ndarray:
    """Triangles, shape (FRAME // 2 + 1, bands), each with peak 1."""
    mel = np.linspace(*(2595 * np.log10(1 + np.array([20.0, RATE / 2]) / 700)), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, FRAME // 2 + 1)[:, None]
    rising, falling = (hertz - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - hertz) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _fsdd(fold: int, folder: Path | None, bands: int) -> Fold:
    data = _read(folder, "fsdd.npz")
    takes = fsdd_takes(len(data["y_train"]), len(data["y_test"]))
    x = log_mel(np.concatenate([data["x_train"], data["x_test"]]), bands)
    y = np.concatenate([data["y_train"], data["y_test"]]).astype(np.int64)
    is_test = takes // 10 == fold
    mean, deviation = x[~is_test].mean((0, 1)), x[~is_test].std((0, 1))
    return _split((x - mean) / deviation, y, is_test)


def _load_images(fold: int, folder: Path | None) -> Fold:
    """Features (clips, 49, 10, 1), of the size that the network was published for."""
    data = _fsdd(fold, folder, 10)
    return replace(data, x=data.x[..., None], x_val=data.x_val[..., None], x_test=data.x_test[..., None])


def _load_sequences(fold: int, folder: Path | None) -> Fold:
    """Features (clips, 49, 40)."""
    return _fsdd(fold, folder, 40)


def build_ds_cnn(width: int = 64, blocks: int = 4) -> keras.Model:
    """The depthwise separable network for keywords (Y. Zhang et al. 2017, small), for 49 x 10 features; logits out."""
    layers = keras.layers
    x = inputs = keras.Input((49, 10, 1), name="features")

    def normalised(x, name):
        return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(x))

    def spread(fan_in):
        # Keras counts all channels as fan-in of a depthwise kernel, which makes its weights so small that one magnitude
        # threshold for the network removes whole layers.
        return keras.initializers.RandomNormal(stddev=(2 / fan_in) ** 0.5)

    first = layers.Conv2D(width, (10, 4), strides=2, padding="same", use_bias=False, kernel_initializer=spread(40), name="first")
    x = normalised(first(x), "first")
    for i in range(1, blocks + 1):
        depth = layers.DepthwiseConv2D(3, padding="same", use_bias=False, depthwise_initializer=spread(9), name=f"depth{i}")
        x = normalised(depth(x), f"depth{i}")
        x = normalised(layers.Conv2D(width, 1, use_bias=False, kernel_initializer=spread(width), name=f"point{i}")(x), f"point{i}")
    x = layers.Dropout(0.2, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(inputs, layers.Dense(10, name="classifier")(x), name="ds_cnn")


def build_gru(units: int = 32) -> keras.Model:
    """One recurrent layer over 49 frames of 40 bands; logits of the last state out."""
    layers = keras.layers
    inputs = keras.Input((49, 40), name="features")
    return keras.Model(inputs, layers.Dense(10, name="classifier")(layers.GRU(units, name="gru")(inputs)), name="gru")


def _trained_base(build: Callable[[], keras.Model]) -> Callable[..., keras.Model]:
    def base(fold: Fold, seed: int, task: Task, checkpoints: Path | None) -> keras.Model:
        keras.utils.set_random_seed(seed)
        return train(task, fold, build(), task.base_epochs, rate=3e-3)

    return base


def _load_cifar(seed: int, folder: Path | None) -> Fold:
    """The usual split; the last 5,000 of the shuffled training images are for decisions."""
    data = _read(folder, "cifar10.npz")
    mean, deviation = np.float32([125.3, 123.0, 113.9]), np.float32([63.0, 62.1, 66.7])
    order = np.random.default_rng(1).permutation(len(data["y_train"]))
    x, y = (data["x_train"][order] - mean) / deviation, data["y_train"][order].reshape(-1).astype(np.int64)
    held = len(x) // 10
    x_test, y_test = (data["x_test"] - mean) / deviation, data["y_test"].reshape(-1).astype(np.int64)
    return Fold(x[:-held], y[:-held], x[-held:], y[-held:], x_test, y_test)


def _checkpoint(fold: Fold, seed: int, task: Task, checkpoints: Path | None) -> keras.Model:
    path = None if checkpoints is None else Path(checkpoints) / f"resnet8_cifar10jpeg_seed{seed}.keras"
    if path is None or not path.exists():
        raise HwcmpError(f"resnet8_cifar10jpeg_seed{seed}.keras is missing: give its folder with --checkpoints. Received: {checkpoints}")
    return keras.models.load_model(path, compile=False)


_PLAIN = ("float", "twn", "ttq")
TASKS = {
    "digits": Task("digits", tuple(range(5)), _load_digits, _trained_base(digits.build_network), 40, 40, 4, 14, 2e-3, 32,
                   (*_PLAIN, "prune-80", "prune-90", "constrained-85", "constrained-90", "constrained-95", "layerwise-85",
                    "layerwise-90", "layerwise-95"), ("first", "classifier"), tried=2, finetune_epochs=8),
    "fsdd": Task("fsdd", tuple(range(5)), _load_images, _trained_base(build_ds_cnn), 10, 24, 4, 6, 2e-3, 20,
                 (*_PLAIN, "prune-80", "constrained-all-80", "layerwise-60", "layerwise-70", "layerwise-80"),
                 ("first", "classifier"), jit=False, group=4, tried=8, finetune_epochs=8),
    "fsdd_gru": Task("fsdd_gru", tuple(range(5)), _load_sequences, _trained_base(build_gru), 30, 150, 15, 90, 3e-3, 50,
                     (*_PLAIN, "prune-80", "constrained-all-60", "constrained-all-70", "constrained-all-80", "layerwise-80"), ("classifier",),
                     jit=True, tried=1, finetune_epochs=45),
    "resnet8": Task("resnet8", (0, 1, 2), _load_cifar, _checkpoint, 0, 6, 1, 5, 1e-3, 128,
                    ("float", "distilled", "ternary", "constrained-85", "layerwise5-40"), ("conv2d", "conv2d_5", "conv2d_8", "dense"),
                    mirrors=True, distilled=("distilled", "ternary", "constrained-85", "layerwise5-40"), group=6, tried=6, max_drop=0.03,
                    ramp_end=0.05, scale="closed-form", per="channel", masked_decay=0.3,
                    schedule=Schedule(strength=Ramp(0.15, 0.2, "cosine"), masks_until=0.9), jit=False),
}  # fmt: skip


def smoke(task: Task) -> Task:
    """The same task with one epoch of everything, to prove that it runs."""
    return replace(task, base_epochs=min(task.base_epochs, 1), epochs=1, prune_epochs=1, step_epochs=1, finetune_epochs=0)
