# One line for each file beneath a folder: all that an archive says of it, and what is in it.
import hashlib, os, stat, sys

root, left_out = sys.argv[1], set(sys.argv[2:])
first_names = {}
for folder, folders, files in os.walk(root):
    own = folder[len(root):].strip("/")
    path_of = lambda name: own + "/" + name if own else name
    folders[:] = sorted(name for name in folders if path_of(name) not in left_out)
    for name in folders + sorted(files):
        path, shown = os.path.join(folder, name), path_of(name)
        if shown in left_out:
            continue
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        attributes = sorted(
            (key, os.getxattr(path, key, follow_symlinks=False).hex())
            for key in os.listxattr(path, follow_symlinks=False)
            if not key.startswith(("trusted.overlay.", "system.", "security.selinux"))
        )
        content, link, device = "", "", 0
        if kind == stat.S_IFLNK:
            content = os.readlink(path)
        elif kind == stat.S_IFREG:
            with open(path, "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            device = status.st_rdev
        size = status.st_size
        if kind == stat.S_IFDIR:
            size = 0
        elif status.st_nlink > 1:
            link = first_names.setdefault((status.st_dev, status.st_ino), shown)
        print(ascii([shown, oct(status.st_mode), status.st_uid, status.st_gid, size, status.st_mtime_ns, link, device, content, attributes]))
