"""`headrace scale executor|pool|release|show`: orders by hand, and what became of them."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
import typer
from confluent_kafka import Producer

from headrace.listen import Ear
from headrace.options import Config, Level, Set, configure, kafka_of
from streams.errors import BadSettings, Unreachable
from streams.follow import Follow
from streams.rdlog import log as rdkafka
from streams.records import Telemetry
from streams.scaling import ExecutorOrder, LaneOrder, Order, PoolOrder, decode_order, encode_order
from streams.settings import KafkaSettings

HEAR_S, TAKEN_S = 1.5, 15.0
LANE = re.compile(r"^(?P<variant>[^:]+)(?::(?P<lanes>[0-9]+))?(?::(?P<batch>[0-9]+))?$")

app = typer.Typer(
    name="scale",
    add_completion=False,
    help="Order what executors hold and how many machines a pool has; show the orders and what became of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Epoch = Annotated[int | None, typer.Option(min=1, help="Of this order.", show_default="one more than the last")]


@app.command()
def executor(
    name: Annotated[str, typer.Argument(help="As `headrace status` shows it.")],
    lanes: Annotated[list[str], typer.Argument(metavar="VARIANT[:LANES[:BATCH]]...", help="All that it should hold.")],
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    epoch: Epoch = None,
) -> None:
    """Order one executor to hold exactly these variants: so many instances, in batches of at most so many queries.

    New ones are loaded before others go, and what waits for those is finished first.
    """
    kafka = kafka_of(configure(config, pairs, level))
    made = ExecutorOrder(executor=name, epoch=epoch or _next(kafka), lanes=tuple(map(_lane, lanes)))
    _write(kafka, made.key, encode_order(made))
    typer.echo(f"{made.key}: epoch {made.epoch}, {len(made.lanes)} variants")


@app.command()
def pool(
    name: Annotated[str, typer.Argument()],
    machines: Annotated[int, typer.Argument(min=0)],
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    epoch: Epoch = None,
) -> None:
    """Order so many machines for a pool; its provisioner keeps within its own bounds."""
    kafka = kafka_of(configure(config, pairs, level))
    made = PoolOrder(pool=name, epoch=epoch or _next(kafka), machines=machines)
    _write(kafka, made.key, encode_order(made))
    typer.echo(f"{made.key}: epoch {made.epoch}, {machines} machines")


@app.command()
def release(
    key: Annotated[str, typer.Argument(metavar="executor:NAME|pool:NAME")],
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
) -> None:
    """Take the order of one executor or pool back: it goes on as its settings say."""
    if not key.startswith(("executor:", "pool:")):
        raise BadSettings(f"{key!r} is neither executor:NAME nor pool:NAME")
    _write(kafka_of(configure(config, pairs, level)), key, None)
    typer.echo(f"{key}: no order")


@app.command()
def show(config: Config = None, pairs: Set = None, level: Level = "warning") -> None:
    """Every order that stands, and how far it is carried out."""
    kafka = kafka_of(configure(config, pairs, level))
    orders = _orders(kafka)
    with Ear(kafka) as ear:
        heard = ear.listen(HEAR_S).executors
    if not orders:
        typer.echo("no orders")
        return
    for key, order in sorted(orders.items()):
        if isinstance(order, PoolOrder):
            ready = sum(each.pool == order.pool and each.state == "ready" for each in heard.values())
            typer.echo(f"{key}  epoch {order.epoch}  {order.machines} machines wanted, {ready} ready")
            continue
        typer.echo(f"{key}  epoch {order.epoch}  {_state(order, heard.get(order.executor))}")
        for lane in order.lanes:
            batch = f", batches of at most {lane.batch_max}" if lane.batch_max else ""
            typer.echo(f"  {lane.variant} x{lane.lanes}{batch}")


def _state(order: ExecutorOrder, said: Telemetry | None) -> str:
    if said is None:
        return "not heard of"
    if said.epoch < order.epoch:
        return f"still at epoch {said.epoch}"
    return "; ".join(f"{variant} {state}" for variant, state in sorted(said.pending.items())) or "as ordered"


def _lane(text: str) -> LaneOrder:
    found = LANE.match(text)
    if found is None:
        raise BadSettings(f"{text!r} is not VARIANT[:LANES[:BATCH]]")
    lanes, batch = int(found["lanes"] or 1), int(found["batch"] or 0)
    try:
        return msgspec.convert({"variant": found["variant"], "lanes": lanes, "batch_max": batch}, LaneOrder)
    except msgspec.ValidationError as bad:
        raise BadSettings(f"{text!r}: {bad}") from bad


def _orders(kafka: KafkaSettings) -> dict[str, Order]:
    found: dict[str, Order] = {}

    def apply(key: str, value: bytes | None) -> None:
        found.pop(key, None)
        if value is not None:
            try:
                found[key] = decode_order(value)
            except msgspec.MsgspecError as unreadable:
                typer.echo(f"{key}: {unreadable}", err=True)

    follow = Follow(kafka, "scaling", apply=apply, changed=lambda: None)
    follow.start()
    try:
        follow.caught_up()
    finally:
        follow.stop()
    return found


def _next(kafka: KafkaSettings) -> int:
    return 1 + max((order.epoch for order in _orders(kafka).values()), default=0)


def _write(kafka: KafkaSettings, key: str, value: bytes | None) -> None:
    failed: list[str] = []
    producer = Producer(kafka.producer(), logger=rdkafka)
    producer.produce(
        kafka.topic("scaling"), value, key=key,
        on_delivery=lambda error, _message: failed.append(error.str()) if error is not None else None,
    )  # fmt: skip
    if producer.flush(TAKEN_S) or failed:
        why = failed[0] if failed else f"no answer within {TAKEN_S:g} s"
        raise Unreachable(f"the order for {key} was not taken: {why}")
