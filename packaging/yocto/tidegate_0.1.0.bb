SUMMARY = "Edge gateway from MQTT devices to the cloud"
DESCRIPTION = "Devices publish over MQTT, rules filter, transform and aggregate on the spot, and what should reach the cloud gets \
there over any outage: it waits in an SQLite database while the cloud is away, and is sent until it is acknowledged."
SECTION = "net"
LICENSE = "Apache-2.0 OR MIT"
LIC_FILES_CHKSUM = "file://LICENSE-APACHE;md5=22a53954e4e0ec258dfce4391e905dac \
                    file://LICENSE-MIT;md5=b377b220f43d747efdec40d69fcaa69d"

# The tarball of packaging/build, put beside this recipe: the Rust of a Yocto release is older than the gateway wants.
TIDEGATE_ARCH:aarch64 = "arm64"
TIDEGATE_ARCH:arm = "armhf"
TIDEGATE_ARCH:x86-64 = "amd64"
SRC_URI = "file://tidegate_${PV}_${TIDEGATE_ARCH}.tar.xz"
S = "${UNPACKDIR}/tidegate_${PV}_${TIDEGATE_ARCH}"
UNPACKDIR ??= "${WORKDIR}"

inherit systemd useradd

COMPATIBLE_HOST = "(aarch64|arm|x86_64).*-linux"

SYSTEMD_SERVICE:${PN} = "tidegate.service"
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system tidegate"
USERADD_PARAM:${PN} = "--system --gid tidegate --home-dir /var/lib/tidegate --no-create-home --shell /sbin/nologin tidegate"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0755 ${S}/usr/bin/tidegate ${D}${bindir}/tidegate
    install -D -m 0644 ${S}/usr/lib/systemd/system/tidegate.service ${D}${systemd_system_unitdir}/tidegate.service
    install -D -m 0644 ${S}/usr/lib/tmpfiles.d/tidegate.conf ${D}${nonarch_libdir}/tmpfiles.d/tidegate.conf
    install -D -m 0644 ${S}/etc/tidegate/tidegate.toml ${D}${sysconfdir}/tidegate/tidegate.toml
    install -D -m 0644 ${S}/etc/tidegate/rules.d/example.toml ${D}${sysconfdir}/tidegate/rules.d/example.toml
    install -d ${D}${sysconfdir}/tidegate/conf.d
}

FILES:${PN} += "${nonarch_libdir}/tmpfiles.d"
CONFFILES:${PN} = "${sysconfdir}/tidegate/tidegate.toml ${sysconfdir}/tidegate/rules.d/example.toml"
RDEPENDS:${PN} = "ca-certificates"
# Stripped by the build.
INSANE_SKIP:${PN} += "already-stripped"
