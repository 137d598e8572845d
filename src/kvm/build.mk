# objects of src/kvm, one a line
OBJS += src/kvm/caps.o
OBJS += src/kvm/irqchip.o
OBJS += src/kvm/kvm.o
OBJS += src/kvm/probe.o
OBJS += src/kvm/save.o
OBJS += src/kvm/state.o
OBJS += src/kvm/trial.o
OBJS += src/kvm/vcpu.o
