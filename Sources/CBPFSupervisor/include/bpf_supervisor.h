#ifndef SKEP_BPF_SUPERVISOR_H
#define SKEP_BPF_SUPERVISOR_H

// Commands whose bpf(2) somebody else answers: seccomp user notification, as C lays it out. Linux only; elsewhere every
// function answers -ENOSYS.

#include <stdint.h>
#include <sys/types.h>

// What a client asked: a system call that waits for its answer.
struct skep_request {
  uint64_t id;
  uint32_t pid;  // the thread
  int32_t number;
  uint32_t architecture;
  uint64_t arguments[6];
};

// How a client starts.
enum {
  // A user namespace in which the caller's user is root.
  SKEP_CLIENT_AS_ROOT = 1,
  // As above, but the user keeps its number.
  SKEP_CLIENT_IN_USER_NAMESPACE = 2,
  // A mount namespace with an empty file system of the client's own on /sys/fs/bpf.
  SKEP_CLIENT_OWN_BPF_FILES = 4,
};

// Starts a command under the filter. `listener` gets the descriptor at which its calls arrive, `pid` its process.
// Where the command cannot be started, the process ends with 127 (not found) or 126.
// 0, or the negative error number with `stage` saying what failed.
int skep_client_start(const char *path, char *const argv[], char *const envp[], unsigned flags, const char *bpf_folder,
                      int *listener, pid_t *pid, const char **stage);

// The next request: 0, or a negative error number (-ENOENT: the client died meanwhile; go on).
int skep_request_receive(int listener, struct skep_request *request);
// Whether the client still waits for the answer.
int skep_request_is_alive(int listener, uint64_t id);
// Answers: `value`, or where `error` is not 0 that error (positive).
int skep_request_answer(int listener, uint64_t id, int64_t value, int error);
// Lets the kernel do the call.
int skep_request_pass_on(int listener, uint64_t id);
// Gives the client a descriptor (a copy of `descriptor`) and answers with its number: the number, or a negative error.
int skep_request_answer_descriptor(int listener, uint64_t id, int descriptor, int close_on_exec);
// Gives the client a descriptor without answering yet.
int skep_request_add_descriptor(int listener, uint64_t id, int descriptor, int close_on_exec);

// The client's memory: bytes moved, or a negative error number.
long skep_client_read(pid_t pid, uint64_t address, void *to, unsigned long size);
long skep_client_write(pid_t pid, uint64_t address, const void *from, unsigned long size);
// A copy of a client's descriptor here, or a negative error number.
int skep_client_descriptor(pid_t pid, int descriptor);

// Opens a path as the client would: from its root where the path begins there, else from `directory`, a descriptor of
// the client, or from where the client is (-100). A descriptor that says which file it is and no more (O_PATH), or a
// negative error number.
int skep_client_open(pid_t pid, int directory, const char *path, int is_folder);
// What a descriptor of the client is: 0, or a negative error number. `access`: bit 0 read, bit 1 write.
int skep_client_file(pid_t pid, int descriptor, uint64_t *device, uint64_t *inode, int *access);
// Changes the client's epoll instance, which is to hear of `descriptor` (one of ours) in place of what it named.
int skep_client_epoll(pid_t pid, int epoll, int operation, int descriptor, uint64_t event);
// Writes the answer of fstatfs(descriptor) to the client, as if it were the BPF file system.
int skep_client_write_statfs(pid_t pid, uint64_t address, int descriptor);

// Files: which one a descriptor is, and what happens to them.
int skep_file_identity(int descriptor, uint64_t *device, uint64_t *inode);
// A copy of a file's descriptor with its own state. `access` as above.
int skep_file_reopen(int descriptor, int access);
// Whether no other open descriptor of the file is left anywhere.
int skep_file_is_alone(int descriptor);
int skep_watch_open(void);
// The number of the watch, or a negative error number. Closes and the end of the file are told.
int skep_watch_add(int watch, int descriptor);
void skep_watch_remove(int watch, int number);
// The next thing that happened, without waiting: 1, or 0 where there is nothing. `is_gone`: the file itself is.
int skep_watch_next(int watch, int *number, int *is_gone);
// Counts up an event descriptor.
int skep_event_open(void);
void skep_event_signal(int event);

// An anonymous file that can be mapped; a negative error number where there is none.
int skep_object_file(const char *name, uint64_t size);

// Numbers of the calls that requests are about on this machine; -1 where it does not have one.
int skep_number_bpf(void);
int skep_number_perf_event_open(void);
int skep_number_statfs(void);
int skep_number_fstatfs(void);
int skep_number_mount(void);
int skep_number_ioctl(void);
int skep_number_epoll_ctl(void);

#endif
