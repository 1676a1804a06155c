"""What a run tells of itself where nobody can watch a bar."""

from iqlearn.progress import Watch, working


def test_a_log_gets_a_line_each_time_on_the_error_stream(capsys):
    with Watch("iq · CartPole-v1", 100) as watch:
        watch.tell(20, 0.0, 12.5, 0.0)
        watch.tell(50, 0.25, 12.5, 1234.5)
        watch.tell(100, 0.125, None, 1234.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "iq · CartPole-v1  20 of 100  no update yet  return 12.5",
        "iq · CartPole-v1  50 of 100  loss 0.25  return 12.5  1,234/s",
        "iq · CartPole-v1  100 of 100  loss 0.125  1,234/s",
    ]


def test_quiet_is_quiet(capsys):
    with Watch("iq", 100, quiet=True) as watch:
        watch.tell(50, 0.25, 12.5, 1234.5)
    with working("judging …", quiet=True) as tell:
        tell("still judging …")
    assert capsys.readouterr() == ("", "")


def test_a_log_hears_of_what_takes_long_and_of_nothing_else(capsys):
    with working("judging …") as tell:
        assert capsys.readouterr() == ("", "")
        tell("fitting a reward …")
    assert capsys.readouterr() == ("", "fitting a reward …\n")
