import BTF

/// The Linux that a verdict is about: version, types, configuration, and what the caller may do.
///
/// A value that is passed in; there is no global one. Rules that changed between versions are asked of it at the
/// place where they matter.
public struct Linux: Sendable {
  public var version: Version
  /// The kernel's own types; nil where none are known (then everything that needs them is refused).
  public var btf: BTF?
  /// `CONFIG_…` as in `/proc/config.gz`: value text without quotes stripped (`y`, `m`, `250`, `"string"`).
  public var config: [String: String]
  public var capabilities: Capabilities
  /// Whether those without `CAP_BPF` may load anything (`kernel.unprivileged_bpf_disabled` is 0); nil for what the
  /// kernel is configured to start with.
  public var takesUnprivileged: Bool?
  /// `/proc/kallsyms` names that typeless ksyms resolve against; nil where unknown.
  public var symbols: [String: UInt64]?
  public var possibleCPUs: Int
  public var architecture: Architecture = .x86_64

  public init(
    version: Version = .v6_18, btf: BTF? = nil, config: [String: String] = [:],
    capabilities: Capabilities = .all, possibleCPUs: Int = 1
  ) {
    self.version = version
    self.btf = btf
    self.config = config
    self.capabilities = capabilities
    self.possibleCPUs = possibleCPUs
  }

  public struct Version: Comparable, Hashable, Sendable, CustomStringConvertible {
    public var major: Int
    public var minor: Int
    public init(_ major: Int, _ minor: Int) {
      self.major = major
      self.minor = minor
    }
    public static func < (a: Version, b: Version) -> Bool { (a.major, a.minor) < (b.major, b.minor) }
    public var description: String { "\(major).\(minor)" }
    public static let v6_1 = Version(6, 1)
    public static let v6_12 = Version(6, 12)
    public static let v6_18 = Version(6, 18)
  }

  public enum Architecture: String, Sendable {
    case x86_64
    case arm64
  }
}

/// What the loading process may do, as far as BPF asks.
public struct Capabilities: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  @inlinable public static var bpf: Capabilities { Capabilities(rawValue: 1 << 0) }
  @inlinable public static var perfmon: Capabilities { Capabilities(rawValue: 1 << 1) }
  @inlinable public static var netAdmin: Capabilities { Capabilities(rawValue: 1 << 2) }
  @inlinable public static var sysAdmin: Capabilities { Capabilities(rawValue: 1 << 3) }
  public static let all: Capabilities = [.bpf, .perfmon, .netAdmin, .sysAdmin]

  /// `CAP_SYS_ADMIN` stands for the finer ones.
  public func allows(_ one: Capabilities) -> Bool { contains(one) || contains(.sysAdmin) }
}
