#define _GNU_SOURCE
#include "bpf_supervisor.h"

#include <errno.h>

#ifdef __linux__

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the supervisor knows x86-64 and arm64"
#endif

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
// Client and supervisor take turns: the kernel may keep both on one processor.
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif
#ifndef SECCOMP_ADDFD_FLAG_SEND
#define SECCOMP_ADDFD_FLAG_SEND (1UL << 1)
#endif

int skep_number_bpf(void) { return SYS_bpf; }
int skep_number_perf_event_open(void) { return SYS_perf_event_open; }
int skep_number_statfs(void) { return SYS_statfs; }
int skep_number_fstatfs(void) { return SYS_fstatfs; }
int skep_number_mount(void) { return SYS_mount; }
int skep_number_ioctl(void) { return SYS_ioctl; }
int skep_number_epoll_ctl(void) { return SYS_epoll_ctl; }

// MARK: starting

#define FIELD(name) ((unsigned)offsetof(struct seccomp_data, name))
#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offset))
#define NOTIFY_IF(number)                                  \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), \
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)

// The calls that touch BPF wait for the supervisor; all others never notice.
static int install_filter(void) {
  struct sock_filter filter[] = {
      LOAD(FIELD(arch)),
      // Another architecture's numbers mean other calls: none of them reaches the kernel's bpf(2) this way.
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCHITECTURE, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      LOAD(FIELD(nr)),
      NOTIFY_IF(SYS_bpf),
      NOTIFY_IF(SYS_perf_event_open),
      NOTIFY_IF(SYS_statfs),
      NOTIFY_IF(SYS_fstatfs),
      NOTIFY_IF(SYS_mount),
      NOTIFY_IF(SYS_epoll_ctl),
      // ioctl: those of perf events ('$').
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
      LOAD(FIELD(args[1])),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, '$' << 8, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static int write_file(const char *path, const char *text) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return -1;
  ssize_t written = write(file, text, strlen(text));
  close(file);
  return written < 0 ? -1 : 0;
}

static int map_user(uid_t user, gid_t group, int as_root) {
  char text[64];
  (void)write_file("/proc/self/setgroups", "deny");
  snprintf(text, sizeof text, "%u %u 1", as_root ? 0 : (unsigned)user, (unsigned)user);
  if (write_file("/proc/self/uid_map", text) != 0) return -1;
  snprintf(text, sizeof text, "%u %u 1", as_root ? 0 : (unsigned)group, (unsigned)group);
  return write_file("/proc/self/gid_map", text);
}

static int send_descriptor(int channel, int descriptor) {
  char byte = 0;
  struct iovec part = {&byte, 1};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  return sendmsg(channel, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

// What the child says before it becomes the command: the listener, or what failed.
struct report {
  int error;
  char stage[60];
};

static void fail(int channel, const char *stage) {
  struct report report = {errno ? errno : EIO, {0}};
  strncpy(report.stage, stage, sizeof report.stage - 1);
  (void)!write(channel, &report, sizeof report);
  _exit(126);
}

static void run_client(const char *path, char *const argv[], char *const envp[], unsigned flags, const char *folder,
                       uid_t user, gid_t group, int channel) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  int namespaces = 0;
  if (flags & (SKEP_CLIENT_AS_ROOT | SKEP_CLIENT_IN_USER_NAMESPACE)) namespaces |= CLONE_NEWUSER;
  if (flags & SKEP_CLIENT_OWN_BPF_FILES) namespaces |= CLONE_NEWNS;
  if (namespaces != 0 && unshare(namespaces) != 0) fail(channel, "making namespaces");
  if (namespaces & CLONE_NEWUSER && map_user(user, group, flags & SKEP_CLIENT_AS_ROOT) != 0) fail(channel, "mapping the user");
  if (namespaces & CLONE_NEWNS) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) fail(channel, "making mounts private");
    if (folder ? mount(folder, "/sys/fs/bpf", NULL, MS_BIND | MS_REC, NULL) : mount("bpf", "/sys/fs/bpf", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
      fail(channel, "mounting /sys/fs/bpf");
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail(channel, "prctl(PR_SET_NO_NEW_PRIVS)");
  int listener = install_filter();
  if (listener < 0) fail(channel, "seccomp(SECCOMP_SET_MODE_FILTER)");
  if (send_descriptor(channel, listener) != 0) fail(channel, "passing the listener on");
  close(listener);
  // The supervisor answers once it listens.
  char byte;
  if (read(channel, &byte, 1) != 1) _exit(126);
  close(channel);
  execvpe(path, argv, envp);
  _exit(errno == ENOENT ? 127 : 126);
}

static int receive_descriptor(int channel, int *error, const char **stage) {
  struct report report;
  memset(&report, 0, sizeof report);
  struct iovec part = {&report, sizeof report};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t got;
  do got = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
  if (header && header->cmsg_type == SCM_RIGHTS) {
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
    return descriptor;
  }
  static _Thread_local char words[60];
  memcpy(words, report.stage, sizeof words);
  *stage = words[0] ? words : "starting the command";
  *error = report.error ? report.error : EIO;
  return -1;
}

int skep_client_start(const char *path, char *const argv[], char *const envp[], unsigned flags, const char *folder,
                      int *listener, pid_t *pid, const char **stage) {
  int channel[2];
  *stage = "socketpair";
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0) return -errno;
  uid_t user = geteuid();
  gid_t group = getegid();
  pid_t child = fork();
  if (child == 0) {
    close(channel[0]);
    run_client(path, argv, envp, flags, folder, user, group, channel[1]);
  }
  close(channel[1]);
  if (child < 0) {
    int error = errno;
    *stage = "fork";
    close(channel[0]);
    return -error;
  }
  int error = 0;
  *listener = receive_descriptor(channel[0], &error, stage);
  if (*listener < 0) {
    close(channel[0]);
    waitpid(child, NULL, 0);
    return -error;
  }
  // Older kernels do not know it, and are slower.
  (void)ioctl(*listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
  (void)!write(channel[0], "", 1);
  close(channel[0]);
  *pid = child;
  return 0;
}

// MARK: requests

int skep_request_receive(int listener, struct skep_request *request) {
  struct seccomp_notif notification;
  memset(&notification, 0, sizeof notification);
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) != 0) return -errno;
  request->id = notification.id;
  request->pid = notification.pid;
  request->number = notification.data.nr;
  request->architecture = notification.data.arch;
  for (int i = 0; i < 6; i++) request->arguments[i] = notification.data.args[i];
  return 0;
}

int skep_request_is_alive(int listener, uint64_t id) { return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0; }

static int respond(int listener, struct seccomp_notif_resp *response) {
  return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, response) == 0 ? 0 : -errno;
}

int skep_request_answer(int listener, uint64_t id, int64_t value, int error) {
  struct seccomp_notif_resp response = {.id = id, .val = error ? 0 : value, .error = -error};
  return respond(listener, &response);
}

int skep_request_pass_on(int listener, uint64_t id) {
  struct seccomp_notif_resp response = {.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
  return respond(listener, &response);
}

static int add_descriptor(int listener, uint64_t id, int descriptor, int close_on_exec, unsigned flags) {
  struct seccomp_notif_addfd request = {
      .id = id, .flags = flags, .srcfd = (unsigned)descriptor, .newfd_flags = close_on_exec ? O_CLOEXEC : 0};
  int number = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &request);
  return number < 0 ? -errno : number;
}

int skep_request_answer_descriptor(int listener, uint64_t id, int descriptor, int close_on_exec) {
  return add_descriptor(listener, id, descriptor, close_on_exec, SECCOMP_ADDFD_FLAG_SEND);
}

int skep_request_add_descriptor(int listener, uint64_t id, int descriptor, int close_on_exec) {
  return add_descriptor(listener, id, descriptor, close_on_exec, 0);
}

// MARK: clients

long skep_client_read(pid_t pid, uint64_t address, void *to, unsigned long size) {
  struct iovec here = {to, size}, there = {(void *)(uintptr_t)address, size};
  ssize_t moved = process_vm_readv(pid, &here, 1, &there, 1, 0);
  return moved < 0 ? -errno : moved;
}

long skep_client_write(pid_t pid, uint64_t address, const void *from, unsigned long size) {
  struct iovec here = {(void *)(uintptr_t)from, size}, there = {(void *)(uintptr_t)address, size};
  ssize_t moved = process_vm_writev(pid, &here, 1, &there, 1, 0);
  return moved < 0 ? -errno : moved;
}

int skep_client_descriptor(pid_t pid, int descriptor) {
  // A thread that is not its process's first takes a flag that older kernels do not know.
  int process = (int)syscall(SYS_pidfd_open, pid, O_EXCL);
  if (process < 0) process = (int)syscall(SYS_pidfd_open, pid, 0);
  if (process < 0) return -errno;
  int copy = (int)syscall(SYS_pidfd_getfd, process, descriptor, 0);
  int error = errno;
  close(process);
  return copy < 0 ? -error : copy;
}

int skep_client_open(pid_t pid, int directory, const char *path, int is_folder) {
  char place[64];
  int from_root = path[0] == '/';
  if (from_root)
    snprintf(place, sizeof place, "/proc/%d/root", (int)pid);
  else if (directory == AT_FDCWD)
    snprintf(place, sizeof place, "/proc/%d/cwd", (int)pid);
  else
    snprintf(place, sizeof place, "/proc/%d/fd/%d", (int)pid, directory);
  int start = open(place, O_PATH | O_CLOEXEC);
  if (start < 0) return !from_root && directory != AT_FDCWD && errno == ENOENT ? -EBADF : -errno;
  struct open_how how = {
      .flags = O_PATH | O_CLOEXEC | (is_folder ? O_DIRECTORY : 0), .resolve = from_root ? RESOLVE_IN_ROOT : 0};
  int file = (int)syscall(SYS_openat2, start, path, &how, sizeof how);
  int error = errno;
  close(start);
  return file < 0 ? -error : file;
}

int skep_client_file(pid_t pid, int descriptor, uint64_t *device, uint64_t *inode, int *access) {
  char place[64];
  struct stat status;
  snprintf(place, sizeof place, "/proc/%d/fd/%d", (int)pid, descriptor);
  if (lstat(place, &status) != 0) return -errno;
  *access = (status.st_mode & S_IRUSR ? 1 : 0) | (status.st_mode & S_IWUSR ? 2 : 0);
  if (stat(place, &status) != 0) return -errno;
  *device = status.st_dev;
  *inode = status.st_ino;
  return 0;
}

int skep_client_epoll(pid_t pid, int epoll, int operation, int descriptor, uint64_t event) {
  struct epoll_event told;
  memset(&told, 0, sizeof told);
  if (operation != EPOLL_CTL_DEL) {
    if (skep_client_read(pid, event, &told, sizeof told) != (long)sizeof told) return -EFAULT;
    told.events |= EPOLLET;
  }
  int instance = skep_client_descriptor(pid, epoll);
  if (instance < 0) return instance;
  int result = epoll_ctl(instance, operation, descriptor, &told) == 0 ? 0 : -errno;
  close(instance);
  return result;
}

#define BPF_FILE_SYSTEM 0xcafe4a11

int skep_client_write_statfs(pid_t pid, uint64_t address, int descriptor) {
  struct statfs status;
  if (fstatfs(descriptor, &status) != 0) return -errno;
  status.f_type = BPF_FILE_SYSTEM;
  return skep_client_write(pid, address, &status, sizeof status) == (long)sizeof status ? 0 : -EFAULT;
}

// MARK: files

int skep_file_identity(int descriptor, uint64_t *device, uint64_t *inode) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) return -errno;
  *device = status.st_dev;
  *inode = status.st_ino;
  return 0;
}

int skep_file_reopen(int descriptor, int access) {
  char place[64];
  snprintf(place, sizeof place, "/proc/self/fd/%d", descriptor);
  int file = open(place, (access == 1 ? O_RDONLY : access == 2 ? O_WRONLY : O_RDWR) | O_CLOEXEC);
  return file < 0 ? -errno : file;
}

int skep_file_is_alone(int descriptor) {
  // A write lease is given to the only one who has the file open.
  if (fcntl(descriptor, F_SETLEASE, F_WRLCK) != 0) return 0;
  fcntl(descriptor, F_SETLEASE, F_UNLCK);
  return 1;
}

int skep_watch_open(void) {
  int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  return watch < 0 ? -errno : watch;
}

int skep_watch_add(int watch, int descriptor) {
  char place[64];
  snprintf(place, sizeof place, "/proc/self/fd/%d", descriptor);
  int number = inotify_add_watch(watch, place, IN_CLOSE | IN_DELETE_SELF);
  return number < 0 ? -errno : number;
}

void skep_watch_remove(int watch, int number) { inotify_rm_watch(watch, number); }

int skep_watch_next(int watch, int *number, int *is_gone) {
  union {
    struct inotify_event event;
    char bytes[sizeof(struct inotify_event) + 256];
  } room;
  // Files that are watched by themselves have no names: a read of this size gives one event.
  ssize_t got = read(watch, &room, sizeof(struct inotify_event));
  if (got < (ssize_t)sizeof(struct inotify_event)) return 0;
  *number = room.event.wd;
  *is_gone = (room.event.mask & (IN_DELETE_SELF | IN_IGNORED | IN_UNMOUNT)) != 0;
  return 1;
}

int skep_event_open(void) {
  int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return event < 0 ? -errno : event;
}

void skep_event_signal(int event) {
  uint64_t one = 1;
  (void)!write(event, &one, sizeof one);
}

int skep_object_file(const char *name, uint64_t size) {
  int file = memfd_create(name, MFD_CLOEXEC);
  if (file < 0) return -errno;
  if (size > 0 && ftruncate(file, (off_t)size) != 0) {
    int error = errno;
    close(file);
    return -error;
  }
  return file;
}

#else
#error "bpf_supervisor.c is built on Linux only"
#endif
