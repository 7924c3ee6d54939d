/* A file system that passes everything through to another folder and fails on request.
 *
 *   failing_fs -f -o source=DIR,control=FILE MOUNTPOINT
 *
 * While FILE holds the word `sync`, fsync and fdatasync answer EIO; while it holds `write`, so do writes as well; while it
 * holds `full`, writes answer ENOSPC. An empty or missing FILE fails nothing.
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct { char *source; char *control; } options;
static const struct fuse_opt option_table[] = {
    {"source=%s", offsetof(__typeof__(options), source), 1},
    {"control=%s", offsetof(__typeof__(options), control), 1},
    FUSE_OPT_END,
};
static int source_fd; /* everything is resolved below it */

static const char *below(const char *path) { return path[1] ? path + 1 : "."; }
static int result(int value) { return value < 0 ? -errno : 0; }

static int ordered(const char *word)
{
    char order[16] = "";
    int fd = open(options.control, O_RDONLY);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, order, sizeof order - 1);
    close(fd);
    return length > 0 && strncmp(order, word, strlen(word)) == 0;
}

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    if (fi)
        return result(fstat((int)fi->fh, st));
    return result(fstatat(source_fd, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int fs_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *fi,
                      enum fuse_readdir_flags flags)
{
    (void)offset, (void)fi, (void)flags;
    int fd = openat(source_fd, below(path), O_RDONLY | O_DIRECTORY);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return -errno;
    for (struct dirent *entry; (entry = readdir(dir));)
        fill(buffer, entry->d_name, NULL, 0, 0);
    closedir(dir);
    return 0;
}

static int opened(int fd, struct fuse_file_info *fi)
{
    if (fd < 0)
        return -errno;
    fi->fh = (uint64_t)fd;
    return 0;
}

static int fs_open(const char *path, struct fuse_file_info *fi)
{
    return opened(openat(source_fd, below(path), fi->flags & ~O_NOFOLLOW), fi);
}

static int fs_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    return opened(openat(source_fd, below(path), fi->flags | O_CREAT, mode), fi);
}

static int fs_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)path;
    ssize_t count = pread((int)fi->fh, buffer, size, offset);
    return count < 0 ? -errno : (int)count;
}

static int fs_write(const char *path, const char *buffer, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)path;
    if (ordered("write"))
        return -EIO;
    if (ordered("full"))
        return -ENOSPC;
    ssize_t count = pwrite((int)fi->fh, buffer, size, offset);
    return count < 0 ? -errno : (int)count;
}

static int fs_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
    (void)path;
    if (ordered("sync") || ordered("write"))
        return -EIO;
    return result(datasync ? fdatasync((int)fi->fh) : fsync((int)fi->fh));
}

static int fs_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    return result(close((int)fi->fh));
}

static int fs_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    if (fi)
        return result(ftruncate((int)fi->fh, size));
    int fd = openat(source_fd, below(path), O_WRONLY);
    if (fd < 0)
        return -errno;
    int answer = result(ftruncate(fd, size));
    close(fd);
    return answer;
}

static int fs_mkdir(const char *path, mode_t mode) { return result(mkdirat(source_fd, below(path), mode)); }
static int fs_unlink(const char *path) { return result(unlinkat(source_fd, below(path), 0)); }
static int fs_rmdir(const char *path) { return result(unlinkat(source_fd, below(path), AT_REMOVEDIR)); }

static int fs_rename(const char *from, const char *to, unsigned int flags)
{
    return result(renameat2(source_fd, below(from), source_fd, below(to), flags));
}

static int fs_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    (void)fi;
    return result(fchmodat(source_fd, below(path), mode, 0));
}

static int fs_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
    (void)fi;
    return result(fchownat(source_fd, below(path), uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int fs_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
    (void)fi;
    return result(utimensat(source_fd, below(path), times, AT_SYMLINK_NOFOLLOW));
}

static int fs_statfs(const char *path, struct statvfs *st)
{
    (void)path;
    return result(fstatvfs(source_fd, st));
}

static int fs_access(const char *path, int mask) { return result(faccessat(source_fd, below(path), mask, 0)); }

static const struct fuse_operations operations = {
    .getattr = fs_getattr, .readdir = fs_readdir, .open = fs_open,     .create = fs_create,     .read = fs_read,
    .write = fs_write,     .fsync = fs_fsync,     .release = fs_release, .truncate = fs_truncate, .mkdir = fs_mkdir,
    .unlink = fs_unlink,   .rmdir = fs_rmdir,     .rename = fs_rename, .chmod = fs_chmod,       .chown = fs_chown,
    .utimens = fs_utimens, .statfs = fs_statfs,   .access = fs_access,
};

int main(int argc, char **argv)
{
    struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
    if (fuse_opt_parse(&args, &options, option_table, NULL) != 0 || !options.source || !options.control) {
        fprintf(stderr, "usage: failing_fs -f -o source=DIR,control=FILE MOUNTPOINT\n");
        return 64;
    }
    source_fd = open(options.source, O_RDONLY | O_DIRECTORY);
    if (source_fd < 0) {
        perror(options.source);
        return 66;
    }
    umask(0);
    return fuse_main(args.argc, args.argv, &operations, NULL);
}
