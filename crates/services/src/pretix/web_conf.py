# gunicorn's settings: the workers end with the process that started them, however that ends.
import ctypes
import os
import signal

workers = 2
timeout = 120
preload_app = True


def post_fork(server, worker):
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server.pid:
        os._exit(1)
