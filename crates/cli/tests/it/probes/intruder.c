/* Tries what a container with the defaults must not achieve, and prints what it achieved. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int achieved(const char *what, long result) {
    if (result >= 0) {
        puts(what);
    } else if (errno != EPERM && errno != EACCES && errno != ESRCH && errno != ENOSYS) {
        /* Refused for another reason, the kernel would do it for others: that proves nothing. */
        printf("%s: %s\n", what, strerror(errno));
    }
    return result >= 0;
}

/* Keys are in no namespace: whoever may ask for them reaches those of the host's users. */
static void keys(void) {
    achieved("session keyring", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
    achieved("user keyring", syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_USER_KEYRING, NULL, 0));
    achieved("joined a keyring", syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL));
    achieved("added a key", syscall(SYS_add_key, "user", "intruder", "x", 1, KEY_SPEC_USER_KEYRING));
    achieved("requested a key", syscall(SYS_request_key, "user", "bld-test-secret", NULL, 0));
}

/* Another process, of the host: its memory, descriptors, registers and namespaces. */
static void process(pid_t pid) {
    char byte, path[64];
    struct iovec local = {&byte, 1}, remote = {(void *)0x400000, 1};
    achieved("attached", ptrace(PTRACE_ATTACH, pid, 0, 0));
    achieved("seized", ptrace(PTRACE_SEIZE, pid, 0, 0));
    achieved("read memory", syscall(SYS_process_vm_readv, pid, &local, 1L, &remote, 1L, 0L));
    achieved("wrote memory", syscall(SYS_process_vm_writev, pid, &local, 1L, &remote, 1L, 0L));
    achieved("compared", syscall(SYS_kcmp, pid, getpid(), 0, 0, 0));
    int fd = syscall(SYS_pidfd_open, pid, 0);
    if (fd >= 0) {
        achieved("took a descriptor", syscall(SYS_pidfd_getfd, fd, 0, 0));
        achieved("joined by descriptor", syscall(SYS_setns, fd, CLONE_NEWNS | CLONE_NEWPID));
    }
    const char *files[] = {"mem", "environ", "maps", "auxv", "stack", "syscall", "root/etc/passwd", "fd/0", "ns/mnt", "map_files"};
    for (size_t n = 0; n < sizeof files / sizeof *files; n++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, files[n]);
        int file = open(path, O_RDONLY);
        /* Some open for everybody and say nothing to those who may not know. */
        if (file >= 0 && strchr("measr", files[n][0]) && read(file, &byte, 1) > 0)
            printf("read %s\n", files[n]);
        if (file >= 0 && files[n][0] == 'n')
            achieved("joined", setns(file, 0));
    }
}

static void kernel(void) {
    char buffer[256] = {0};
    struct timespec now = {0};
    uint32_t handle[] = {8, 1, 2, 0}; /* the root of whatever file system is below */
    struct file_handle *root = (struct file_handle *)handle;
    int here = open("/", O_RDONLY);
    achieved("opened by handle", syscall(SYS_open_by_handle_at, here, root, O_RDONLY));
    achieved("bpf", syscall(SYS_bpf, 5, buffer, sizeof buffer));
    achieved("perf_event_open", syscall(SYS_perf_event_open, buffer, 0, -1, -1, 0));
    achieved("userfaultfd", syscall(SYS_userfaultfd, 0));
    achieved("init_module", syscall(SYS_init_module, buffer, 1L, ""));
    achieved("finit_module", syscall(SYS_finit_module, here, "", 0));
    achieved("kexec_load", syscall(SYS_kexec_load, 0L, 0L, NULL, 0L));
    achieved("mount", syscall(SYS_mount, "none", "/tmp", "tmpfs", 0L, NULL));
    achieved("umount", syscall(SYS_umount2, "/proc/kcore", 0));
    achieved("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    achieved("open_tree", syscall(SYS_open_tree, -100, "/", 1));
    achieved("mount_setattr", syscall(SYS_mount_setattr, -100, "/proc/sys", 0, buffer, 32L));
    achieved("pivot_root", syscall(SYS_pivot_root, "/", "/tmp"));
    achieved("unshare user", unshare(CLONE_NEWUSER));
    achieved("unshare mounts", unshare(CLONE_NEWNS));
    achieved("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL));
    achieved("clock_settime", syscall(SYS_clock_settime, CLOCK_REALTIME, &now));
    achieved("swapon", syscall(SYS_swapon, "/etc/passwd", 0));
    achieved("acct", syscall(SYS_acct, "/etc/passwd"));
    achieved("syslog", syscall(SYS_syslog, 3, buffer, (int)sizeof buffer));
    achieved("quotactl", syscall(SYS_quotactl, 0x80000100, "/dev/vda", 0, buffer));
    achieved("io_uring", syscall(SYS_io_uring_setup, 1, buffer));
#ifdef __x86_64__
    achieved("iopl", syscall(SYS_iopl, 3));
    achieved("ioperm", syscall(SYS_ioperm, 0L, 1L, 1));
#endif
    achieved("vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
}

/* What is open that nobody gave us. */
static void descriptors(void) {
    for (int fd = 3; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("descriptor %d\n", fd);
}

/* Packets as they are on the wire, and packets that claim to come from elsewhere. */
static void raw(const char *victim, const char *marker) {
    static char packet[65536];
    struct in_addr address;
    inet_aton(victim, &address);
    int out = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    int in = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    size_t length = strlen("forged");
    struct ip *ip = (struct ip *)packet;
    struct udphdr *udp = (struct udphdr *)(ip + 1);
    memcpy(udp + 1, "forged", length);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = address};
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += 2;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > end.tv_sec)
            break;
        if (out >= 0) {
            *ip = (struct ip){.ip_hl = 5, .ip_v = 4, .ip_ttl = 64, .ip_p = IPPROTO_UDP};
            ip->ip_dst = address;
            ip->ip_src.s_addr = htonl(ntohl(address.s_addr) ^ 3); /* a neighbour of the victim */
            ip->ip_len = htons(sizeof *ip + sizeof *udp + length);
            *udp = (struct udphdr){.uh_sport = htons(5), .uh_dport = htons(7001), .uh_ulen = htons(sizeof *udp + length)};
            sendto(out, packet, sizeof *ip + sizeof *udp + length, 0, (struct sockaddr *)&to, sizeof to);
        }
        struct pollfd ready = {.fd = in, .events = POLLIN};
        static char heard[65536];
        while (poll(&ready, 1, 50) > 0) {
            ssize_t got = recv(in, heard, sizeof heard, 0);
            if (got > 0 && memmem(heard, got, marker, strlen(marker)))
                puts("heard the others");
        }
    }
}

/* The victim's side: tells of each datagram. */
static void hear(void) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(7001)};
    char byte;
    int in = socket(AF_INET, SOCK_DGRAM, 0);
    bind(in, (struct sockaddr *)&any, sizeof any);
    while (recv(in, &byte, 1, 0) >= 0) {
        puts("a datagram");
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    for (int n = 1; n < argc; n++) {
        if (!strcmp(argv[n], "keys")) keys();
        else if (!strcmp(argv[n], "kernel")) kernel();
        else if (!strcmp(argv[n], "descriptors")) descriptors();
        else if (!strcmp(argv[n], "process") && n + 1 < argc) process(atoi(argv[++n]));
        else if (!strcmp(argv[n], "raw") && n + 2 < argc) raw(argv[n + 1], argv[n + 2]), n += 2;
        else if (!strcmp(argv[n], "hear")) hear();
        else return 2;
    }
    puts("done");
    return 0;
}
