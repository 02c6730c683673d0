"""What scripts of checks have in common: checks that are run and counted one after the other, and waiting for what shall hold."""
import sys, time, traceback

# Nothing takes longer, in seconds.
WAIT = 90
only = ""
passed, failed = 0, []


def check(name):
    """Runs the function below it now, if `only` is part of its name; what it returns is printed beside it."""
    def run(function):
        global passed
        if only not in name:
            return function
        began = time.monotonic()
        try:
            said = function()
            passed += 1
            print("pass %s (%.1f s)%s" % (name, time.monotonic() - began, ": " + said if said else ""), flush=True)
        except Exception:
            failed.append(name)
            print("FAIL", name, flush=True)
            traceback.print_exc()
        return function
    return run


def equal(got, expected):
    if got != expected:
        raise AssertionError("got %.2000r\nexpected %.2000r" % (got, expected))


def until(what, holds, seconds=WAIT):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError("not within %d s: %s" % (seconds, what))
        time.sleep(0.02)


def finish():
    """Says how it went, and ends the program."""
    print("%d passed, %d failed" % (passed, len(failed)))
    sys.exit(1 if failed else 0)
