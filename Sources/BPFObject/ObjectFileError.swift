/// Why an object file could not be opened: which file and section, at which byte, and the rule it breaks.
public struct ObjectFileError: Error, Equatable, Sendable, CustomStringConvertible {
  public let file: String
  /// The section concerned; empty where it is the file as a whole.
  public let section: String
  /// Byte offset inside the section, or inside the file where there is no section.
  public let offset: Int
  /// What is wrong, as a sentence without a period.
  public let rule: String
  /// What libbpf answers, positive. From 4000 on: libbpf's own numbers.
  public let errno: Int32

  public init(file: String, section: String = "", offset: Int = 0, rule: String, errno: Int32) {
    self.file = file
    self.section = section
    self.offset = offset
    self.rule = rule
    self.errno = errno
  }

  public var description: String {
    section.isEmpty
      ? "\(file): at byte \(offset): \(rule)" : "\(file): section '\(section)', at byte \(offset): \(rule)"
  }
}

/// Error numbers that a loader reports, the system's and libbpf's own (`LIBBPF_ERRNO__…`).
enum LoaderErrno {
  static let noEntry: Int32 = 2
  static let noSuchObject: Int32 = 3
  static let tooBig: Int32 = 7
  static let invalid: Int32 = 22
  static let range: Int32 = 34
  static let nameTooLong: Int32 = 36
  static let notSupported: Int32 = 95
  static let format: Int32 = 4001
  static let endian: Int32 = 4003
  static let relocation: Int32 = 4005
}

/// Why a program of an opened object cannot be loaded: libbpf, or the kernel before its verifier, refuses.
public struct LinkError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Positive; what `bpf_object__load` answers.
  public let errno: Int32
  public let message: String

  public init(errno: Int32, message: String) {
    self.errno = errno
    self.message = message
  }

  public var description: String { message }
}
