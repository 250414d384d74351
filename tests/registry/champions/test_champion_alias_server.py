"""Two gates on two machines, as far as a server can tell: two clients, no file in common, one history."""

import threading

import pytest
from http_server import MlflowServer
from known_features import clouds, report_of

from registry.champions.champion_alias import ChampionAlias
from registry.champions.gate import GateConfig
from registry.champions.promote import judge
from registry.champions.promotion_history import HistoryStore
from registry.tracking.run_log import open_run_log
from registry.versions.records import Lineage
from registry.versions.store import EncoderStore

NAME = "cross-modal-points"
REPORTS = {n: report_of({None: clouds(noise, 1)}) for n, noise in ((1, 4.0), (2, 2.0), (3, 0.8))}


@pytest.mark.slow
def test_two_machines_crown_one_champion(home, bundles, tmp_path):
    server = MlflowServer(home)
    server.start()
    try:
        server.wait()
        stores = [EncoderStore(open_run_log(server.address, tmp_path / str(n))) for n in (1, 2)]
        trial = stores[0].run_log.start_run("a-trial", {}, {})
        lineage = Lineage(study="s", trial=0, run_id=trial, seed=0)
        versions = [stores[0].register(bundle, NAME, lineage, trial) for bundle in bundles]
        # the first decisions of all, at once: also who makes the history is disputed
        problems, start = [], threading.Barrier(2)

        def gate(store: EncoderStore, number: int) -> None:
            alias, answer = ChampionAlias(store, NAME), None
            try:
                start.wait(timeout=30)
                while answer is None:
                    history = alias.reconcile()
                    rival = alias.rival(history)
                    answer = judge(alias, history, [versions[number - 1]], rival, REPORTS, GateConfig())
            except Exception as error:
                problems.append(error)

        threads = [threading.Thread(target=gate, args=(stores[i], i + 2)) for i in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert problems == []
        history = HistoryStore(stores[1], NAME).read()
        champion = stores[0].with_alias(NAME, "champion")
        assert champion is not None
        assert champion.version == history.champion.version == 3
        assert [version.status for version in stores[0].list(NAME)].count("champion") == 1
        assert [line.kind for line in history.lines].count("observed") == 0
        assert sorted(line.version for line in history.lines) == [2, 3]
        experiment = stores[0].client.get_experiment_by_name(HistoryStore(stores[0], NAME).experiment)
        assert len(stores[0].client.search_runs([experiment.experiment_id])) == 1
    finally:
        server.kill()
