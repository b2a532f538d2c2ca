"""What a signal does to a run."""

from __future__ import annotations

import signal
import threading

import pytest

from mrcnn.training.signals import StopSignals


def _signals(can_save: bool = True) -> StopSignals:
    return StopSignals(can_save, lambda: "stopped after step 3 of 10")


@pytest.mark.parametrize("number, expected", [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_the_first_signal_is_noted_for_the_end_of_the_step(number: int, expected: type[BaseException], caplog) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    signals = _signals()
    with signals.listening():
        signal.raise_signal(number)
        assert signals.number == number
        with pytest.raises(expected) as caught:
            signals.leave()
    if expected is SystemExit:
        assert caught.value.code == 128 + number
    assert caplog.messages == [
        f"signal {signal.Signals(number).name}: the run ends after this step",
        "stopped after step 3 of 10",
    ]
    assert {n: signal.getsignal(n) for n in before} == before


def test_a_second_ctrl_c_ends_at_once_but_a_second_sigterm_does_not() -> None:
    signals = _signals()
    with signals.listening():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_a_run_at_once_that_cannot_save() -> None:
    with _signals(can_save=False).listening(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_where_all_is_saved_nothing_is_waited_for(caplog) -> None:
    signals = _signals()
    with signals.listening():
        with signals.leaving_at_once(True), pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        assert caplog.messages == ["stopped after step 3 of 10"]
    signals = _signals()
    with signals.listening(), signals.leaving_at_once(False):
        signal.raise_signal(signal.SIGTERM)
    assert signals.number == signal.SIGTERM


def test_another_thread_handles_no_signals() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def body() -> None:
        with _signals().listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_signal_at_another_machine_ends_this_one_too() -> None:
    signals = _signals()
    signals.note()
    with pytest.raises(SystemExit) as caught:
        signals.leave()
    assert caught.value.code == 128 + signal.SIGTERM
    signals.number = signal.SIGINT
    signals.note()
    assert signals.number == signal.SIGINT  # its own comes first
