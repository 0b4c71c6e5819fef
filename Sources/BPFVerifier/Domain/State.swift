import BPFLinux

typealias StateRef = UnsafeMutablePointer<State>

/// One point of the exploration: the call stack with what is known of every value, and what is held.
struct State: BitwiseCopyable {
  var frames: (FrameRef?, FrameRef?, FrameRef?, FrameRef?, FrameRef?, FrameRef?, FrameRef?, FrameRef?)
  /// The checkpoint that this state continues.
  var parent: StateRef?
  var references: UnsafeMutablePointer<Reference>?
  var referenceCount: Int32
  var referenceCapacity: Int32
  /// How many paths from here are still to be explored; 0 means that every one ended or was pruned.
  var branches: Int32
  var instruction: Int32
  var currentFrame: Int32
  var activeLocks: UInt32
  var activePreemptLocks: UInt32
  var activeIRQID: UInt32
  var activeLockID: UInt32
  var activeRCULock: Bool
  /// What the active lock lies in; see `Reference.object`.
  var activeLockObject: UInt64
  var speculative: Bool
  var inSleepable: Bool
  var cleaned: Bool
  var firstInstruction: Int32
  var lastInstruction: Int32
  /// For a state that closes a loop: the checkpoint that it equals.
  var equalState: StateRef?
  var history: UnsafeMutablePointer<JumpHistoryEntry>?
  var historyCount: Int32
  var historyCapacity: Int32
  var depth: UInt32
  var callbackUnrollDepth: UInt32
  var mayGotoDepth: UInt32

  // A checkpoint is a state in a list of them.

  var next: StateRef?
  /// How often a comparison with this checkpoint failed, and succeeded.
  var misses: UInt32
  var hits: UInt32
  /// Evicted from its list, but still an ancestor of states.
  var evicted: Bool
}

/// Something acquired that must be given back: a reference, a lock, a saved interrupt state.
struct Reference: BitwiseCopyable {
  var kind: ReferenceKind
  var id: Int32
  /// Where it was acquired.
  var instruction: Int32
  /// Locks: the map or the BTF object they lie in, as a number that is unique for it.
  var object: UInt64
}

struct ReferenceKind: OptionSet, BitwiseCopyable {
  let rawValue: UInt32
  static let pointer = ReferenceKind(rawValue: 1 << 1)
  static let irq = ReferenceKind(rawValue: 1 << 2)
  static let lock = ReferenceKind(rawValue: 1 << 3)
  static let resilientLock = ReferenceKind(rawValue: 1 << 4)
  static let resilientLockIRQ = ReferenceKind(rawValue: 1 << 5)
  static let anyLock: ReferenceKind = [.lock, .resilientLock, .resilientLockIRQ]
}

/// One step of the path since the last checkpoint, for precision backtracking.
struct JumpHistoryEntry: BitwiseCopyable {
  var instruction: UInt32
  var previous: UInt32
  var flags: UInt32
  /// Registers and slots linked by id at this point: packed as `LinkedRegisters` does.
  var linked: UInt64
}

/// `JumpHistoryEntry.flags`: frame in bits 0…2, slot in bits 3…8, then the kind of access.
enum HistoryFlags {
  static let frameMask: UInt32 = 0x7
  static let slotMask: UInt32 = 0x3f
  static let slotShift: UInt32 = 3
  static let stackAccess: UInt32 = 1 << 9
  static let dstIsStack: UInt32 = 1 << 10
  static let srcIsStack: UInt32 = 1 << 11
}

extension UnsafeMutablePointer where Pointee == State {
  /// Frame `index`; only frames 0 … currentFrame exist.
  @inline(__always) func frame(_ index: Int) -> FrameRef {
    framesBase[index].unsafelyUnwrapped
  }
  /// The frames as an array of eight.
  @inline(__always) var framesBase: UnsafeMutablePointer<FrameRef?> {
    UnsafeMutableRawPointer(self).assumingMemoryBound(to: FrameRef?.self)
  }
  /// The innermost frame.
  @inline(__always) var current: FrameRef { frame(Int(pointee.currentFrame)) }

  /// Every register and every spilled register of every frame.
  @inline(__always) func forEachRegister(
    mask: UInt32 = 1 << SlotType.spill, _ body: (FrameRef, RegisterRef) -> Void
  ) {
    var index = 0
    while index <= Int(pointee.currentFrame) {
      let frame = self.frame(index)
      for number in 0..<registerCount { body(frame, frame.register(number)) }
      var slot = 0
      while slot < Int(frame.pointee.slotCount) {
        if let register = frame.spilledRegister(slot, mask: mask) { body(frame, register) }
        slot &+= 1
      }
      index &+= 1
    }
  }
}
