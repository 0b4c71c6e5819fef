import BPFLinux
import BTF

/// How an object's struct_ops maps meet the kernel's structs.
struct StructOpsBinding: Sendable {
  struct Slot: Sendable, Equatable {
    /// The kernel's struct, and the member that the program implements.
    let type: TypeID
    let member: UInt32
  }

  struct Value: Sendable {
    let wrapperType: TypeID
    let bytes: [UInt8]
  }

  /// By function: what it implements.
  private(set) var slots: [Int: Slot] = [:]
  /// By function: whether it is loaded, for those that a map uses.
  private(set) var autoload: [Int: Bool] = [:]
  /// By map: the kernel's type of its value, and the value.
  private(set) var values: [Int: Value] = [:]

  init() {}

  init(_ object: ObjectFile, _ linux: Linux) throws(LinkError) {
    for (index, map) in object.maps.enumerated() {
      guard let structOps = map.structOps else { continue }
      for function in structOps.functions.values {
        autoload[function] = autoload[function] == true || map.autocreate
      }
      guard map.autocreate, let local = object.btf, let kernel = linux.btf else { continue }
      try bind(index, map, structOps, object, local, kernel)
    }
  }

  private mutating func bind(
    _ index: Int, _ map: ObjectMap, _ structOps: StructOpsMap, _ object: ObjectFile, _ local: BTF, _ kernel: BTF
  ) throws(LinkError) {
    func refuse(_ rule: String, _ errno: Int32 = LoaderErrno.notSupported) -> LinkError {
      LinkError(errno: errno, message: "struct_ops init_kern \(map.name): \(rule)")
    }
    let name = BTF.essentialName(local.name(structOps.typeID))
    let wrapperName = "bpf_struct_ops_" + name
    guard let wrapper = kernel.find(wrapperName, kind: .structure) else {
      throw refuse("struct \(wrapperName) is not found in kernel BTF", LoaderErrno.noSuchObject)
    }
    guard let type = kernel.find(name, kind: .structure) else {
      throw refuse("struct \(name) is not found in kernel BTF", LoaderErrno.noEntry)
    }
    guard let data = kernel.members(wrapper).first(where: { $0.typeID == type }) else {
      throw refuse("struct \(name) data is not found in struct \(wrapperName)", LoaderErrno.invalid)
    }
    let size = Int(kernel.type(wrapper).size)
    guard size <= 1 << 20 else { throw refuse("struct \(wrapperName) is too large", LoaderErrno.tooBig) }
    var bytes = [UInt8](repeating: 0, count: size)
    let kernelMembers = Array(kernel.members(type))
    for (memberIndex, member) in local.members(structOps.typeID).enumerated() {
      let memberName = local.string(member.nameOffset)
      let start = Int(member.bitOffset / 8)
      guard let memberSize = local.resolveSize(member.typeID) else {
        throw refuse("failed to resolve the size of member \(memberName)", LoaderErrno.invalid)
      }
      let end = start + Int(memberSize)
      let content = end <= structOps.data.count ? Array(structOps.data[start..<end]) : []
      let function = structOps.functions[memberIndex]
      guard
        let kernelIndex = kernelMembers.firstIndex(where: {
          kernel.stringEquals($0.nameOffset, in: local, member.nameOffset)
        })
      else {
        // What the kernel does not know must not be asked of it.
        guard function == nil, content.allSatisfy({ $0 == 0 }) else {
          throw refuse("Cannot find member \(memberName) in kernel BTF")
        }
        continue
      }
      let kernelMember = kernelMembers[kernelIndex]
      guard member.bitfieldSize == 0, kernelMember.bitfieldSize == 0 else {
        throw refuse("bitfield \(memberName) is not supported")
      }
      let memberType = local.skipModifiers(member.typeID)
      let kernelType = kernel.skipModifiers(kernelMember.typeID)
      guard local.kind(memberType) == kernel.kind(kernelType) else {
        throw refuse(
          "Unmatched member type \(memberName) \(local.kind(memberType).rawValue) != "
            + "\(kernel.kind(kernelType).rawValue)(kernel)")
      }
      if local.kind(memberType) == .pointer {
        guard let function else {
          guard content.allSatisfy({ $0 == 0 }) else {
            throw refuse("member \(memberName) is not a struct_ops program")
          }
          continue
        }
        guard kernel.kind(kernel.skipModifiers(kernel.type(kernelType).target)) == .functionPrototype else {
          throw refuse("kernel member \(memberName) is not a func ptr")
        }
        let slot = Slot(type: type, member: UInt32(truncatingIfNeeded: kernelIndex))
        guard slots[function] == nil || slots[function] == slot else {
          throw refuse(
            "func ptr \(memberName): invalid reuse of prog \(object.functions[function].name)", LoaderErrno.invalid)
        }
        slots[function] = slot
        continue
      }
      guard let kernelSize = kernel.resolveSize(kernelType), kernelSize == memberSize else {
        throw refuse("Error in size of member \(memberName)")
      }
      let place = Int(data.bitOffset / 8) + Int(kernelMember.bitOffset / 8)
      guard place + content.count <= bytes.count else { continue }
      bytes.replaceSubrange(place..<(place + content.count), with: content)
    }
    values[index] = Value(wrapperType: wrapper, bytes: bytes)
  }
}
