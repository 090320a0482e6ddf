"""threadpoolctl sees and limits fastact's threads, as it does those of BLAS and OpenMP.

Where threadpoolctl was imported before fastact this happens by itself; otherwise call `register` once.
"""

import threadpoolctl


class FastactController(threadpoolctl.LibController):
    """Finds the compiled front end by its exported symbols."""

    user_api = "fastact"
    internal_api = "fastact"
    filename_prefixes = ("frontend",)
    check_symbols = ("fastact_get_num_threads", "fastact_set_num_threads")

    def get_num_threads(self):
        return self.dynlib.fastact_get_num_threads()

    def set_num_threads(self, num_threads):
        return self.dynlib.fastact_set_num_threads(num_threads)

    def get_version(self):
        from .. import __version__

        return __version__

    def set_additional_attributes(self):
        pass


def register():
    """Let threadpoolctl control fastact's threads; without the extension there is nothing to control.

    Examples
    --------
    >>> import threadpoolctl
    >>> import fastact.interop.threadpoolctl
    >>> fastact.interop.threadpoolctl.register()
    """
    if FastactController not in threadpoolctl._ALL_CONTROLLERS:
        threadpoolctl.register(FastactController)
