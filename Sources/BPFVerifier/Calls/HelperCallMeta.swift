import BPFLinux
import BTF

/// What checking the arguments of one call finds out, for the checks and effects of the call itself.
struct HelperCallMeta: BitwiseCopyable {
  /// The helper; `.unspec` where the call is of a subprogram.
  var functionID = HelperID.unspec
  /// The map argument, as an index into `Verification.maps`; -1 where none was seen.
  var map = -1
  /// Tells look-ups of different inner maps apart.
  var mapUID: UInt32 = 0
  /// The memory argument may be uninitialised: the helper only writes it.
  var rawMode = false
  /// The helper may be given packet pointers.
  var packetAccess = false
  /// The register whose reference the call releases; 0 for none.
  var releaseRegister = 0
  /// Stack memory that the helper writes: the register that points there, and how many bytes (0 for none).
  var register: Int32 = 0
  var accessSize: Int32 = 0
  /// Constant size of the memory to allocate.
  var memorySize: Int32 = 0
  /// Largest value of the size argument.
  var maximumSize: UInt64 = 0
  /// The reference that an argument holds; 0 for none.
  var referenceID: UInt32 = 0
  /// The dynptr that returned memory is a slice of.
  var dynptrID: UInt32 = 0
  var btf: BTFIndex = 0
  var btfID: TypeID = 0
  /// The type of the per-CPU object that is returned.
  var returnBTF: BTFIndex = 0
  var returnBTFID: TypeID = 0
  /// The callback.
  var subprogram = 0
  /// The kptr that is exchanged.
  var kptrField: BTFField?
  /// Value of a constant key; -1 where it is not known.
  var constantMapKey: Int64 = 0

  @inline(__always) var hasMap: Bool { map >= 0 }
}
