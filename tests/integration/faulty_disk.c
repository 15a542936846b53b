/*
 * A disk that fails on request, below everything: between a program and the system's calls.
 *
 *   cc -shared -fPIC -O1 -o faulty_disk.so faulty_disk.c -ldl
 *   FAULTY_DISK=rules LD_PRELOAD=./faulty_disk.so program
 *
 * The file `rules` has lines `CALL ERRNO FRAGMENT`: calls of a kind (read, write, flush, rename) on
 * files whose path holds FRAGMENT fail with ERRNO (a number). It is read anew at each call, so the
 * disk breaks and mends while the program runs. No file: no faults.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* The errno of the first rule that fits, 0 for none. Uses raw calls only: libc's lead back here. */
static int fault_of(const char *call, const char *path)
{
    const char *file = getenv("FAULTY_DISK");
    char text[4096], *line, *rest = text;
    int fd, saved = errno;
    ssize_t size;
    if (!file)
        return 0;
    fd = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        errno = saved;
        return 0;
    }
    size = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    errno = saved;
    text[size > 0 ? size : 0] = 0;
    while ((line = strsep(&rest, "\n"))) {
        char kind[16], fragment[1024];
        int number;
        if (sscanf(line, "%15s %d %1023s", kind, &number, fragment) == 3 && !strcmp(kind, call) &&
            strstr(path, fragment))
            return number;
    }
    return 0;
}

static int fails_at(const char *call, const char *path)
{
    int number = path ? fault_of(call, path) : 0;
    if (number)
        errno = number;
    return number;
}

static int fails(const char *call, int fd)
{
    char name[64], path[4096];
    int saved = errno;
    ssize_t size;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    size = syscall(SYS_readlinkat, AT_FDCWD, name, path, sizeof path - 1);
    errno = saved;
    if (size < 0)
        return 0;
    path[size] = 0;
    return fails_at(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define ON_FILE(result, call, name, params, args)                                                  \
    result name params                                                                             \
    {                                                                                              \
        static __typeof__(&name) real;                                                             \
        if (fails(call, fd))                                                                       \
            return -1;                                                                             \
        if (!real)                                                                                 \
            real = REAL(name);                                                                     \
        return real args;                                                                          \
    }

ON_FILE(ssize_t, "read", read, (int fd, void *to, size_t n), (fd, to, n))
ON_FILE(ssize_t, "read", pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at))
ON_FILE(ssize_t, "read", pread64, (int fd, void *to, size_t n, off64_t at), (fd, to, n, at))
ON_FILE(ssize_t, "read", readv, (int fd, const struct iovec *to, int n), (fd, to, n))
ON_FILE(ssize_t, "write", write, (int fd, const void *from, size_t n), (fd, from, n))
ON_FILE(ssize_t, "write", pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at))
ON_FILE(ssize_t, "write", pwrite64, (int fd, const void *from, size_t n, off64_t at), (fd, from, n, at))
ON_FILE(ssize_t, "write", writev, (int fd, const struct iovec *from, int n), (fd, from, n))
ON_FILE(int, "flush", fsync, (int fd), (fd))
ON_FILE(int, "flush", fdatasync, (int fd), (fd))

int rename(const char *from, const char *to)
{
    if (fails_at("rename", to))
        return -1;
    return REAL(rename)(from, to);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    if (fails_at("rename", to))
        return -1;
    return REAL(renameat)(from_fd, from, to_fd, to);
}
