"""A program that watches with a tiny protocol, for tests that kill it. Arguments: home, pack, workers, and perhaps
`fine-tuning`.
"""

import sys
from pathlib import Path

from plain_client import PROTOCOL, TUNING

from registry.tracking.run_log import open_run_log
from registry.versions.store import EncoderStore
from ssl_core.data.object_pack import Pack
from ssl_core.interrupt import Interrupt, watch_signals
from study.registration.job_pools import ProcessPool
from study.registration.watcher import Notice, Watcher, WatchPlan


def say(notice: Notice) -> None:
    print(notice.to_json(), flush=True)


if __name__ == "__main__":
    home, pack, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    tunes = "fine-tuning" in sys.argv[4:]
    packs = {Pack.open(pack).manifest.pack_digest: pack}
    interrupt, pool = Interrupt(), ProcessPool(workers, home / "watch.log")
    with open_run_log(None, home) as log, watch_signals(interrupt):
        try:
            plan = WatchPlan(packs, home, None, PROTOCOL, every=1.0, fine_tuning=TUNING if tunes else None)
            Watcher(EncoderStore(log), plan, pool, say).run(interrupt, once=True)
        finally:
            pool.close()
