"""What a run runs on: one device, several of one machine, or several machines. TensorFlow's strategies do the work."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.errors import InputError


def use_devices(devices: str = "1") -> tf.distribute.Strategy:
    """The strategy for a number of devices of this machine.

    Args:
        devices: "1", "2", ...: so many GPUs, or the CPU where there is none and one is wanted; "all": every GPU;
            "cpu:2": two parts of the CPU, to try things out. Splitting the CPU must happen before TensorFlow's first
            operation.

    Returns:
        A strategy; the same object each time, for TensorFlow's collectives mix up two of one process.

    Raises:
        InputError: not of this form, or more devices than there are.
    """
    match = re.fullmatch(r"(all)|(cpu:)?([1-9]\d*)", devices.strip().lower())
    if not match:
        raise InputError(f"devices: expected a number, all, or cpu:2, got {devices!r}")
    gpus = tf.config.list_physical_devices("GPU")
    if match[2]:
        return _mirrored(tuple(_split_cpu(int(match[3]))))
    wanted = max(1, len(gpus)) if match[1] else int(match[3])
    if wanted > max(1, len(gpus)):
        raise InputError(f"devices: {wanted} GPUs wanted, {len(gpus)} found; cpu:{wanted} splits the CPU instead")
    if wanted == 1:
        return tf.distribute.get_strategy()
    return _mirrored(tuple(f"/gpu:{i}" for i in range(wanted)))


def _split_cpu(number: int) -> list[str]:
    if number > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        known = tf.config.get_logical_device_configuration(cpu)
        if known is None or len(known) < number:
            try:
                tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * number)
            except RuntimeError as error:
                raise InputError(f"devices: cpu:{number} must be asked for before TensorFlow is used") from error
    return [f"/cpu:{i}" for i in range(number)]


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    if len(devices) == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy(list(devices))


def join_workers(workers: Sequence[str] = (), index: int | None = None) -> tf.distribute.Strategy:
    """The strategy for several machines; call it first thing, it waits until all have done so.

    Args:
        workers: "host:port" of every machine, in the same order on each; none: TF_CONFIG says.
        index: which of them this machine is, from 0.

    Raises:
        InputError: an index without workers or past their end, or TF_CONFIG is absent or not JSON.
    """
    if workers:
        if index is None or not 0 <= index < len(workers):
            raise InputError(f"index: expected 0 to {len(workers) - 1}, one per worker, got {index}")
        for worker in workers:
            if not re.fullmatch(r"[^:\s]+:\d+", worker):
                raise InputError(f"workers: expected host:port, got {worker!r}")
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": list(workers)}, "task": {"type": "worker", "index": index}}
        )
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise InputError("workers: give host:port of every machine, or set TF_CONFIG")
    try:
        json.loads(text)
    except ValueError as error:
        raise InputError(f"TF_CONFIG: expected JSON, got {text[:80]!r}") from error
    return _multi_worker()


@functools.cache
def _multi_worker() -> tf.distribute.Strategy:
    return tf.distribute.MultiWorkerMirroredStrategy()


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether several machines (processes) work together."""
    return num_workers(strategy) > 1


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Machines (processes) that work together."""
    resolver = strategy.cluster_resolver
    return max(1, resolver.cluster_spec().num_tasks("worker")) if _has_cluster(resolver) else 1


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """Which of them this one is, from 0; 0 is the chief, who writes."""
    resolver = strategy.cluster_resolver
    return int(resolver.task_id or 0) if _has_cluster(resolver) else 0


def gather_bytes(strategy: tf.distribute.Strategy, data: bytes) -> list[bytes]:
    """The data of every machine, by index. All machines of the strategy must call it at the same point."""
    number = num_workers(strategy)
    if number == 1:
        return [data]
    # Whole numbers of 32 bits are the smallest that TensorFlow's collectives carry.
    words = np.frombuffer(data + bytes(-len(data) % 4), np.int32)

    def on_replica(words: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        device = context.replica_id_in_sync_group % (strategy.num_replicas_in_sync // number)
        speaks = tf.cast(tf.equal(device, 0), tf.int32)  # one device for its machine
        words, length = words[: speaks * tf.shape(words)[0]], length[:speaks]
        return context.all_gather(tf.identity(words), 0), context.all_gather(tf.identity(length), 0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([1], tf.int32)], autograph=False)
    def gather(words: tf.Tensor, length: tf.Tensor) -> tuple[Any, Any]:
        return strategy.run(on_replica, args=(words, length))

    gathered = gather(tf.constant(words), tf.constant([len(data)]))
    joined, lengths = (strategy.experimental_local_results(value)[0].numpy() for value in gathered)
    ends = np.cumsum(-(-lengths // 4))
    return [
        joined[end - -(-length // 4) : end].tobytes()[:length]
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]


def _has_cluster(resolver: Any) -> bool:
    return resolver is not None and "worker" in resolver.cluster_spec().jobs
