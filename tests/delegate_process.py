"""Run as a program, in a process that may crash: models through the delegate of one runtime.

    delegate_process.py RUNTIME equal FILE.npz     every model gives the expected outputs
    delegate_process.py RUNTIME refuse FILE.npz    every model raises a Python exception

Prints one line per model and, as the last line, "done". Files: model_<n>, and for `equal` input_<n> (count, ...),
output_<n>_<k>.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np

from keras_hwcompress.runners.delegate import delegate_library, invocations
from keras_hwcompress.runners.executors import load_runtime
from keras_hwcompress.runners.interpreter import Interpreter


def check_equal(runtime: str, data: np.lib.npyio.NpzFile, number: int) -> str:
    """Through `Interpreter`, with the right integers and in our kernels."""
    before = sum(invocations().values())
    interpreter = Interpreter(data[f"model_{number}"].tobytes(), runtime=runtime, allow_fallback=False)
    results = interpreter.run([data[f"input_{number}"]])
    for position, result in enumerate(results):
        np.testing.assert_array_equal(result, data[f"output_{number}_{position}"])
    return f"equal {interpreter.executor} {sum(invocations().values()) - before}"


def check_refused(runtime: str, data: np.lib.npyio.NpzFile, number: int) -> str:
    """Straight through the stock interpreter: nothing of this package looks at the file before the delegate does."""
    module = load_runtime(runtime)
    try:
        interpreter = module.Interpreter(
            model_content=data[f"model_{number}"].tobytes(),
            experimental_delegates=[module.load_delegate(str(delegate_library()))],
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
        )
        interpreter.allocate_tensors()
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        return "refused " + " ".join(str(error).split())
    return "accepted"


def main() -> None:
    """Runs the command line."""
    runtime, what, path = sys.argv[1:]
    # tf.lite warns that it is deprecated: `load_runtime` must silence that.
    warnings.simplefilter("error", UserWarning)
    check = {"equal": check_equal, "refuse": check_refused}[what]
    with np.load(path) as data:
        for number in range(sum(name.startswith("model_") for name in data)):
            print(check(runtime, data, number), flush=True)
    print("done")


if __name__ == "__main__":
    main()
