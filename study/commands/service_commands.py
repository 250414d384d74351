"""The registry as a service: start it, its users, backup and restore."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from study.commands.options import Json
from study.reports.console import answer, print_json, say, table
from study.spec.home import home

Home = Annotated[Path | None, typer.Option("--home", help="home folder; default SPLATSWEEP_HOME, or runs")]


class RoleName(StrEnum):
    """What a user may do."""

    READER = "reader"
    TRAINER = "trainer"
    OWNER = "owner"


users_app = typer.Typer(
    help="users of a served registry: readers pull, trainers register, owners promote", no_args_is_help=True
)


def serve(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    artifacts: Annotated[
        str | None, typer.Option(help="s3://bucket/prefix; default: a folder beside the database")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes of MLflow's server")] = 1,
    home_folder: Home = None,
) -> None:
    """Serve the registry on loopback with users and passwords, on Postgres where there is one; Ctrl-C stops it."""
    from registry.server.server import serve as run

    run(home_folder or home(), port, artifacts, say, workers=workers)


def backup(
    file: Annotated[Path, typer.Argument(help="the .tar to write")],
    embedded: Annotated[
        bool, typer.Option("--embedded", help="the store without a server, where the home has a service, too")
    ] = False,
    home_folder: Home = None,
    json: Json = False,
) -> None:
    """Write the whole registry into one file: runs, models, users, artifacts. It may run meanwhile."""
    from registry.server.backup import backup as write
    from registry.server.places import places_of

    with places_of(home_folder or home(), "embedded" if embedded else None) as places:
        done = write(places, file)
    text = f"{file}: the databases and {done.files:,} artifacts, {done.bytes / 1e6:,.1f} MB"
    answer(json, {"file": str(file), **done.model_dump(mode="json")}, text)


def restore(
    file: Annotated[Path, typer.Argument(help="a file that `backup` wrote")],
    force: Annotated[bool, typer.Option("--force", help="replace what the registry holds now")] = False,
    home_folder: Home = None,
    json: Json = False,
) -> None:
    """Put a registry back as it was; the service must be stopped. Every byte is checked before anything is replaced."""
    from registry.server.places import places_of
    from registry.server.restore import manifest_of
    from registry.server.restore import restore as read

    made = manifest_of(file)
    with places_of(home_folder or home(), made.kind, stopped=True, engine=made.engine) as places:
        done = read(places, file, force=force)
    text = f"restored the databases and {done.files:,} artifacts of {done.made}"
    answer(json, {"file": str(file), **done.model_dump(mode="json")}, text)


@users_app.command()
def add(
    name: Annotated[str, typer.Argument(help="the user's name")],
    role: Annotated[RoleName, typer.Option(help="reader: looks and pulls; trainer: registers; owner: promotes")],
    new_password: Annotated[bool, typer.Option("--new-password", help="for a user that exists")] = False,
    home_folder: Home = None,
    json: Json = False,
) -> None:
    """Add a user, or give one another role. The password is written to a file, never printed."""
    from registry.server.places import service_folder
    from registry.server.secret_file import write_access
    from registry.server.users import open_users

    where = home_folder or home()
    users = open_users(where, os.environ)
    password = users.add(name, role.value, renew=new_password)
    file = write_access(service_folder(where), users.address, name, password) if password else None
    told = f"\naddress, name and password for this user: {file}" if file else ""
    facts = {"name": name, "role": role.value, "file": str(file) if file else None}
    answer(json, facts, f"{name} is {role.value}{told}")


@users_app.command("list")
def list_users(home_folder: Home = None, json: Json = False) -> None:
    """Users and their roles."""
    from registry.server.users import open_users

    found = open_users(home_folder or home(), os.environ).list()
    if json:
        print_json([user.model_dump(mode="json") for user in found])
        return
    table(
        "users", ["name", "role"], [[u.name, "administrator" if u.administrator else u.role or "none"] for u in found]
    )


@users_app.command()
def remove(
    name: Annotated[str, typer.Argument(help="the user's name")], home_folder: Home = None, json: Json = False
) -> None:
    """Remove a user; what the user made stays."""
    from registry.server.places import service_folder
    from registry.server.users import open_users

    where = home_folder or home()
    open_users(where, os.environ).remove(name)
    (service_folder(where) / "users" / f"{name}.env").unlink(missing_ok=True)
    answer(json, {"name": name, "removed": True}, f"{name} is removed")
