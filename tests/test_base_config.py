from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, Literal

import pytest

from mrcnn.base_config import BaseConfig, ConfigError


def kind(name: str) -> str:
    """The name of one of the classes below: they belong to another package than mrcnn."""
    return f"{__name__}:{name}"


@dataclasses.dataclass(frozen=True)
class Motor(BaseConfig):
    power: float = 1.0


@dataclasses.dataclass(frozen=True)
class Diesel(Motor):
    cylinders: int = 4


@dataclasses.dataclass(frozen=True)
class Electric(Motor):
    cells: tuple[int, ...] = (6, 12)


@dataclasses.dataclass(frozen=True)
class Car(BaseConfig):
    name: str
    motor: Motor = Motor()
    spare: Motor | None = None
    trailers: tuple[Motor, ...] = ()
    size: tuple[float, float] = (1.0, 2.0)
    doors: int = 4
    open_top: bool = False
    fuel: Literal["none", "diesel"] = "none"
    parts: dict[str, int] = dataclasses.field(default_factory=dict)
    anything: Any = None

    def __post_init__(self) -> None:
        if self.doors < 0:
            raise ValueError("doors: expected at least 0")


HERE = re.escape(kind(""))
CAR = Car(
    "estate", Electric(2.5, (1, 2)), Diesel(9.0, 8), (Diesel(), Electric(), Motor()), (3.0, 4.5), 5, True, "diesel",
    {"wheel": 4}, [1, "two"],
)  # fmt: skip


def test_every_field_survives():
    assert Car.from_dict(CAR.to_dict()) == CAR
    assert Car.from_dict({"name": "bare"}) == Car("bare")


def test_the_plain_form_holds_plain_data_and_the_kind():
    assert CAR.to_dict() == {
        "kind": kind("Car"),
        "name": "estate",
        "motor": {"kind": kind("Electric"), "power": 2.5, "cells": [1, 2]},
        "spare": {"kind": kind("Diesel"), "power": 9.0, "cylinders": 8},
        "trailers": [
            {"kind": kind("Diesel"), "power": 1.0, "cylinders": 4},
            {"kind": kind("Electric"), "power": 1.0, "cells": [6, 12]},
            {"kind": kind("Motor"), "power": 1.0},
        ],
        "size": [3.0, 4.5],
        "doors": 5,
        "open_top": True,
        "fuel": "diesel",
        "parts": {"wheel": 4},
        "anything": [1, "two"],
    }


@pytest.mark.parametrize(
    "path, value, field",
    [
        ("name", "coupe", lambda car: car.name),
        ("motor.power", 3, lambda car: car.motor.power),
        ("motor.cells.1", 7, lambda car: car.motor.cells[1]),
        ("trailers.0.cylinders", 2, lambda car: car.trailers[0].cylinders),
        ("trailers.1", Diesel(4.0), lambda car: car.trailers[1]),
        ("spare", None, lambda car: car.spare),
        ("motor", Diesel(cylinders=3), lambda car: car.motor),
        ("motor", {"kind": kind("Diesel"), "power": 4.0}, lambda car: car.motor),
        ("parts.wheel", 3, lambda car: car.parts["wheel"]),
        ("size.0", 7, lambda car: car.size[0]),
        ("doors", 2.0, lambda car: car.doors),
        ("open_top", "FALSE", lambda car: car.open_top),
        ("motor.power", "1e-4", lambda car: car.motor.power),
    ],
)
def test_override_by_path_and_index(path: str, value: object, field):
    changed = CAR.override({path: value})
    wanted = {"1e-4": 1e-4, "FALSE": False}.get(value, value) if isinstance(value, str) else value
    if isinstance(value, dict):
        wanted = Diesel(4.0)
    assert field(changed) == wanted
    assert type(field(changed)) is type(field(CAR)) or isinstance(wanted, Motor) or wanted is None
    plain, before = changed.to_dict(), CAR.to_dict()
    assert [n for n in plain if plain[n] != before[n]] == [path.split(".")[0]]


def test_overrides_are_applied_in_order_and_the_original_stays():
    changed = CAR.override({"motor": Diesel(), "motor.cylinders": 12})
    assert changed.motor == Diesel(cylinders=12)
    assert CAR.motor == Electric(2.5, (1, 2))


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("doors", "five", r"^doors: expected int, got 'five'"),
        ("doors", 2.5, r"^doors: expected int, got 2.5"),
        ("doors", True, r"^doors: expected int, got True"),
        ("motor.power", "much", r"^motor\.power: expected float, got 'much'"),
        ("motor.power", math.nan, r"^motor\.power: expected a number, got nan"),
        ("motor.power", "nan", r"^motor\.power: expected a number, got 'nan'"),
        ("motor.power", True, r"^motor\.power: expected float, got True"),
        ("motor.power", None, r"^motor\.power: expected float, got None"),
        ("motor.cells", 3, r"^motor\.cells: expected a list, got 3"),
        ("motor.cells", "12", r"^motor\.cells: expected a list, got '12'"),
        ("motor.cells.1", "x", r"^motor\.cells\[1\]: expected int, got 'x'"),
        ("trailers.0.cylinders", "x", r"^trailers\[0\]\.cylinders: expected int, got 'x'"),
        ("open_top", 1, r"^open_top: expected bool, got 1"),
        ("name", 5, r"^name: expected str, got 5"),
        ("fuel", "coal", r"^fuel: expected one of 'none', 'diesel', got 'coal'"),
        ("size", [1.0], r"^size: expected 2 values, got 1"),
        ("parts", 5, r"^parts: expected a mapping, got 5"),
        ("parts.wheel", "x", r"^parts\.wheel: expected int, got 'x'"),
        ("motor", 5, r"^motor: expected a mapping of Motor fields, got 5"),
        (
            "motor",
            {"kind": kind("Steam")},
            rf"^motor\.kind: kind '{HERE}Steam': .* has no kind of this name",
        ),
        ("motor", {"kind": ["Diesel"]}, r"^motor\.kind: expected the name of a class, got \['Diesel'\]"),
        ("motor", Car("no motor"), rf"^motor\.kind: kind '{HERE}Car'"),
        ("motor", {"power": 1.0, "wings": 2}, r"^motor: Motor has no field 'wings'; it has power"),
        (
            "spare",
            {"kind": kind("Diesel"), "cells": []},
            r"^spare: Diesel has no field 'cells'; it has cylinders",
        ),
        ("doors", -1, r"^doors: expected at least 0"),
        ("motor.wings", 2, r"^motor\.wings: no field 'wings' in .*Electric; there are power, cells"),
        ("wings", 2, r"^wings: no field 'wings' in .*Car; there are name, motor"),
        ("wings.left", 2, r"^wings\.left: no field 'wings' in .*Car"),
        ("name.first", "x", r"^name\.first: 'first' leads below a plain value \('estate'\)"),
        ("trailers.3", Motor(), r"^trailers\.3: no item '3', there are 3 \(0 to 2\)"),
        ("trailers.first.power", 1.0, r"^trailers\.first\.power: no item 'first', there are 3 \(0 to 2\)"),
        ("trailers.-1", Motor(), r"^trailers\.-1: no item '-1'"),
        ("motor.kind", "Diesel", r"^motor\.kind: no field 'kind'"),
    ],
)
def test_a_fault_names_the_path(path: str, value: object, message: str):
    with pytest.raises(ConfigError, match=message):
        CAR.override({path: value})


@pytest.mark.parametrize(
    "data, message",
    [
        ({}, r"^Car needs name"),
        ({"name": "x", "wings": 1}, r"^Car has no field 'wings'"),
        ({"kind": kind("Motor"), "name": "x"}, rf"^kind: kind '{HERE}Motor'"),
        ({"name": "x", "trailers": [{}, {"power": "?"}]}, r"^trailers\[1\]\.power: expected float"),
        ([1], r"^Car: expected a mapping, got list"),
        (None, r"^Car: expected a mapping, got NoneType"),
    ],
)
def test_errors_of_a_whole_file(data: Any, message: str):
    with pytest.raises(ConfigError, match=message):
        Car.from_dict(data)


def test_configs_are_frozen_and_hashable_where_their_fields_are():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CAR.doors = 3  # type: ignore[misc]
    assert len({Diesel(), Diesel(), Electric()}) == 2
