"""Callbacks that tighten the constraints of a wrapped model while `fit` runs, after Grimaldi et al.; details ours.

Published (M. Grimaldi et al., "A Compression-Driven Training Framework for Embedded DNNs", INTESA 2018, and "Layer-Wise
Compressive Training for CNNs", Future Internet 11(1):7, 2019): weights confined to {-s, 0, +s} with s learned per layer;
magnitude pruning with one sparsity target, hence one threshold, for the whole network. Ours, since only abstracts and
reviews could be read:

* gradients pass straight through to latent weights that stay in float, masked weights included, so that a weight may
  come back until the masks are final; until then every batch sees the mask of its own weights;
* the sparsity rises along a cubic ramp, then the forward weights move from masked float to the grid along a cosine ramp
  ("strength" 0 to 1), then training goes on with the grid on, most of it with masks that still follow the latent
  weights; shapes and places of the ramps are arguments;
* s starts at the mean magnitude of the kept weights when its ramp begins and is learned as a positive factor with the
  step-size gradient of LSQ;
* grids of n levels instead of 3, one s per channel instead of per layer, closed-form instead of learned s;
* masked weights may be pulled towards zero, so that fewer of them come back by chance (SR-STE, A. Zhou et al., "Learning N:M
  Fine-grained Structured Sparse Neural Networks From Scratch", ICLR 2021; there as a term of the gradient, here decoupled
  from it as in AdamW);
* BatchNormalization statistics are measured anew when the grid is on and once more at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.training.batch_norm import reestimate_batch_norm
from keras_hwcompress.training.models import compressed_layers, sync_state
from keras_hwcompress.training.pruning import global_masks, global_threshold
from keras_hwcompress.training.rules import SCHEDULED, Nary, Rule, Sparse, check_share, present_mask
from keras_hwcompress.training.schedules import Ramp, Schedule
from keras_hwcompress.training.state import KernelState
from keras_hwcompress.training.wrapper import CompressedLayer

__all__ = ["ConstrainedTraining", "GlobalPruning", "Ramp", "Schedule"]

_TINY = 1e-12


class _Scheduled(keras.callbacks.Callback):
    """Calls `move(progress)` every few batches, at both ends of every epoch, with the share of the training done."""

    def __init__(self, every: int) -> None:
        super().__init__()
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise HwcmpError(f"every must be a positive number of batches. Received: every={every!r}")
        self._every = every
        self._epoch = self._last = 0

    def move(self, progress: float) -> None:
        """Sets masks and strengths for this share of the training, 0..1."""
        raise NotImplementedError

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch, self._last = epoch, 0
        self.move(epoch / self.params["epochs"])

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """The last batch of an epoch counts always, so that validation sees what the epoch ends with."""
        steps, done = self.params.get("steps"), batch + 1
        if steps and (done - self._last >= self._every or done >= steps):
            self._last = done
            self.move((self._epoch + min(done / steps, 1.0)) / self.params["epochs"])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Needed where the number of batches is unknown in the first epoch."""
        self.move((epoch + 1) / self.params["epochs"])


class GlobalPruning(_Scheduled):
    """Magnitude pruning under one global threshold, with a rising sparsity.

    Governs the wrapped layers whose rule is `GlobalPruning(...).rule`; put them under it with `hwc.wrap(model, rule)`.
    One `fit` runs the schedule once: after it, train on without the callback, masks stay. Writes to the epoch's logs,
    hence to History and to callbacks that come later (put TensorBoard after this one): "hwc/sparsity" and, per kernel,
    "hwc/<path>/sparsity".

    Args:
        sparsity: share of zeros in [0, 1) that all governed weights together end with, exactly.
        schedule: the ramp of the sparsity over the training, by default cubic over the first half.
        every: batches between two updates of the threshold; the masks follow the weights in every batch.
        masked_decay: decay of masked weights while masks still follow: per batch they shrink by the learning rate times
            this, as all weights do by the `weight_decay` of AdamW. At high sparsities 0.3 settles the masks earlier.

    Raises:
        HwcmpError: an argument is out of range; in `fit`, no layer is under the rule.
    """

    rule: Rule = Sparse(SCHEDULED)

    def __init__(self, sparsity: float, schedule: Ramp | None = None, every: int = 20, masked_decay: float = 0.0) -> None:
        super().__init__(every)
        check_share("sparsity", sparsity)
        if isinstance(masked_decay, bool) or not isinstance(masked_decay, (int, float)) or not 0 <= masked_decay < float("inf"):
            raise HwcmpError(f"masked_decay must be a number of at least 0. Received: masked_decay={masked_decay!r}")
        schedule = Ramp(0.0, 0.5, "cubic") if schedule is None else schedule
        if not isinstance(schedule, Ramp):
            raise HwcmpError(f"schedule must be a Ramp. Received: schedule={schedule!r}")
        self.sparsity, self._ramp, self._masked_decay = float(sparsity), schedule, float(masked_decay)
        self._masks_end = schedule.end

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuses a model without layers under the rule."""
        self._governed()
        self._masks_final = False
        self._first = True
        self._progress = 0.0
        self._batches = 0  # since the last decay

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Stores the masks where `fit` stopped before they were final."""
        if not self._masks_final:
            self._prune(store=True)

    def move(self, progress: float) -> None:
        """Prunes; once the masks are final they stay, also when `fit` is resumed after that."""
        self._masks_final |= self._first and progress > self._masks_end
        self._first = False
        if not self._masks_final:
            self._progress, self._masks_final = progress, progress >= self._masks_end
            self._prune(store=self._masks_final)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches += 1
        super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if logs is not None:
            sync_state(self.model)
            logs.update(self.summary())

    def summary(self) -> dict[str, float]:
        """What goes into the logs."""
        masks = {name: ops.convert_to_numpy(present_mask(state.latent(), state)) for name, _, state in self._kernels()}
        zeros, size = sum(np.count_nonzero(mask == 0) for mask in masks.values()), sum(m.size for m in masks.values())
        layers = {f"hwc/{name}/sparsity": float(np.mean(mask == 0)) for name, mask in masks.items()}
        return {"hwc/sparsity": float(zeros / size), **layers}

    def _prune(self, store: bool) -> None:
        sync_state(self.model)
        self._decay()
        for kernels, share in self._shares(self._progress):
            _zero(kernels, share, store)

    def _decay(self) -> None:
        """What the batches since the last decay ask for, at the present learning rate."""
        batches, self._batches = self._batches, 0
        if not (self._masked_decay and batches):
            return
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        kept_share = max(0.0, 1.0 - rate * self._masked_decay) ** batches
        for _, _, state in self._kernels():
            shrink = 1.0 - (1.0 - kept_share) * (1.0 - present_mask(state.latent(), state))
            state.kernel.assign(ops.convert_to_tensor(state.kernel) * ops.cast(shrink, state.kernel.dtype))

    def _shares(self, progress: float) -> list[tuple[dict[str, KernelState], float]]:
        """Kernels that share a threshold, and the share of zeros among them."""
        return [({name: state for name, _, state in self._kernels()}, self.sparsity * self._ramp(progress))]

    def _governed(self) -> list[tuple[str, CompressedLayer]]:
        layers = compressed_layers(self.model)
        name = type(self).__name__
        if not layers:
            raise HwcmpError(
                f"{name}: model {self.model.name!r} holds no wrapped layer: train the model that hwc.wrap(model, "
                f"callback.rule) returns"
            )
        governed = [(path, layer) for path, layer in layers if layer.rule == self.rule]
        if not governed:
            raise HwcmpError(
                f"{name}: no layer is under the rule of this callback, {self.rule}: pass callback.rule to hwc.wrap. "
                f"Received: layer {layers[0][0]!r} under {layers[0][1].rule}"
            )
        return governed

    def _kernels(self) -> list[tuple[str, CompressedLayer, KernelState]]:
        """(path, or path/kernel where a layer has several kernels; layer; state) of every governed kernel."""
        return [
            (path if len(layer.states) == 1 else f"{path}/{state.spec.name}", layer, state)
            for path, layer in self._governed()
            for state in layer.states
        ]


class ConstrainedTraining(GlobalPruning):
    """Prunes under one global threshold, then moves the weights onto a grid of n levels, {-s, 0, +s} for three.

        constrain = hwc.callbacks.ConstrainedTraining(levels=3, sparsity=0.8)
        model = hwc.wrap(model, constrain.rule)      # or [("first", None), ("*", constrain.rule)]
        model.compile(...)
        model.fit(..., callbacks=[constrain])

    At the end of `fit` every governed layer is at strength 1: its forward weights are exactly on the grid. Start from a
    trained model. One `fit` runs the schedule once: after it, train on without the callback, the grid stays. For
    activations rounded to int8 in training, too, wrap with `quantize_inputs=True`.

    Writes to the epoch's logs, hence to History and to callbacks that come later (put TensorBoard after this one):
    "hwc/strength", "hwc/sparsity" and, per kernel, "hwc/<path>/sparsity" (of the forward weights), ".../scale" (s, the
    mean over the channels) and ".../distance" (root mean square distance of the forward weights to the grid, relative
    to that of the grid weights to zero; 0 when they are on it).

    Args:
        levels: 2..16 values per s.
        sparsity: share of zeros in [0, 1) that one global threshold sets; 0 does not prune (with three levels every
            weight becomes -s or +s); None leaves the number of zeros of every kernel as it is. With five or more
            levels, small kept weights may become zero in addition. An even number of levels holds no zero and allows 0 and None only.
        schedule: the `Schedule` of both ramps; by default the first 15 % of the training prune, the next 15 % constrain,
            and masks follow the weights until 80 %.
        scale: "learned" or "closed-form", see `Nary`.
        per: "layer" or "channel": what one s spans.
        layers: paths of governed layers, with wildcards, whose strength is moved; None for all of them, () for none.
            Masks are of all governed layers in any case.
        batch_norm_data: samples for `training.reestimate_batch_norm` when the strength has reached 1 and at the end;
            None leaves the statistics to the training.
        every: batches between two updates of threshold and strength; the masks follow the weights in every batch.
        masked_decay: see `GlobalPruning`.

    Raises:
        HwcmpError: an argument is out of range; in `fit`, no layer is under the rule or `layers` names none.
    """

    def __init__(
        self,
        levels: int = 3,
        sparsity: float | None = 0.0,
        schedule: Schedule | None = None,
        scale: str = "learned",
        per: str = "layer",
        layers: Sequence[str] | None = None,
        batch_norm_data: Any = None,
        every: int = 20,
        masked_decay: float = 0.0,
    ) -> None:
        schedule = Schedule() if schedule is None else schedule
        if not isinstance(schedule, Schedule):
            raise HwcmpError(f"schedule must be a Schedule. Received: schedule={schedule!r}")
        super().__init__(0.0 if sparsity is None else sparsity, schedule.sparsity, every, masked_decay)
        self.rule = Nary(levels, scale=scale, per=per, sparsity=SCHEDULED)
        if sparsity and levels % 2 == 0:
            raise HwcmpError(f"an even number of levels holds no zero. Received: levels={levels}, sparsity={sparsity!r}")
        self._keeps_masks = sparsity is None
        self._masks_end = schedule.masks_end
        self._kept_shares: dict[str, float] = {}
        self._strength, self._patterns = schedule.strength, None if layers is None else tuple(layers)
        self._batch_norm_data = batch_norm_data

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuses a model without layers under the rule, or whose layers the patterns miss."""
        super().on_train_begin(logs)
        self._moved()
        self._measured = False
        if self._keeps_masks:
            self._kept_shares = {name: float(np.mean(ops.convert_to_numpy(state["mask"]) == 0)) for name, _, state in self._kernels()}

    def move(self, progress: float) -> None:
        """Prunes, then constrains; s is set from the kept weights when the strength leaves 0."""
        super().move(progress)
        strength = self._strength(progress)
        for _, layer in self._moved():
            present = float(ops.convert_to_numpy(layer.strength))
            if present != strength:
                sync_state(self.model)
                if present == 0:
                    layer.restart("scale", "scale_log")
                layer.strength.assign(strength)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if not self._measured and self._strength((epoch + 1) / self.params["epochs"]) == 1:
            self._measured = True
            self._measure_batch_norm()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Measures BatchNormalization for the final weights; says so where `fit` stopped before the grid was reached."""
        super().on_train_end(logs)
        left = [path for path, layer in self._moved() if float(ops.convert_to_numpy(layer.strength)) < 1]
        if left:
            text = f"training stopped before the constraint was complete, strength is below 1 in {', '.join(left)}"
            warnings.warn(f"{text}: train for all epochs, or end schedule.strength earlier", stacklevel=2)
        self._measure_batch_norm()

    def _shares(self, progress: float) -> list[tuple[dict[str, KernelState], float]]:
        """Without a sparsity of its own, every kernel keeps its number of zeros while they change places."""
        if not self._keeps_masks:
            return super()._shares(progress)
        return [({name: state}, self._kept_shares[name]) for name, _, state in self._kernels()]

    def summary(self) -> dict[str, float]:
        """What goes into the logs."""
        strengths = [float(ops.convert_to_numpy(layer.strength)) for _, layer in self._governed()]
        found = {"hwc/strength": float(np.mean(strengths))}
        zeros = size = 0
        for name, layer, state in self._kernels():
            forward, constrained, scale = _weights_of(layer, state)
            zeros, size = zeros + np.count_nonzero(forward == 0), size + forward.size
            distance = np.linalg.norm(forward - constrained) / max(np.linalg.norm(constrained), _TINY)
            found[f"hwc/{name}/sparsity"] = float(np.mean(forward == 0))
            found[f"hwc/{name}/scale"] = float(np.mean(scale))
            found[f"hwc/{name}/distance"] = float(distance)
        return {**found, "hwc/sparsity": float(zeros / size)}

    def _measure_batch_norm(self) -> None:
        if self._batch_norm_data is not None:
            reestimate_batch_norm(self.model, self._batch_norm_data)

    def _moved(self) -> list[tuple[str, CompressedLayer]]:
        governed = self._governed()
        if self._patterns is None:
            return governed
        moved = [pair for pair in governed if any(fnmatchcase(pair[0], pattern) for pattern in self._patterns)]
        if self._patterns and not moved:
            names = [path for path, _ in governed]
            raise HwcmpError(f"layers must name governed layers, {names}. Received: layers={self._patterns}")
        return moved


def _zero(kernels: dict[str, KernelState], share: float, store: bool) -> None:
    """Zeroes the share of least magnitude among the kernels: for good by masks of that very count, or by a threshold."""
    latent = [ops.convert_to_numpy(state.latent()) for state in kernels.values()]
    threshold = 0.0 if store else global_threshold(latent, share)
    masks = global_masks(latent, share) if store else [np.ones_like(weights) for weights in latent]
    for (name, state), mask, weights in zip(kernels.items(), masks, latent, strict=True):
        state.variables["mask"].assign(mask)
        state.variables["threshold"].assign(threshold)
        if not np.any(mask * (np.abs(weights) > threshold)):
            text = f"the global threshold leaves no weight in {name!r} at sparsity {share:.3f}"
            warnings.warn(f"{text}: lower the sparsity or leave the layer unwrapped (rule None)", stacklevel=2)


def _weights_of(layer: CompressedLayer, state: KernelState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forward weights, the same on the grid, and the scale; float32."""
    latent = state.latent()
    scale = layer.rule.present_scale(latent, state)
    tensors = (layer.forward_kernels()[state.spec.name], layer.rule.constrain(latent, state), scale)
    return tuple(ops.convert_to_numpy(tensor) for tensor in tensors)
