"""What a study is asked to do: spec, budget, outcome, the request for a trial. Values only."""
